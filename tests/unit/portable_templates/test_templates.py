"""Prompt templates: Plexus's treatment of missing values, the sandbox, and the bounds."""

import pytest

from plexus_scoring.engines.portable.templates import render, undefined_names
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed


class Result:
    """A dependency's result, as templates see it."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.metadata = {"explanation": f"because {value}"}


@pytest.fixture
def values():
    return {
        "text": "Agent: hello",
        "metadata": {
            "agent": {"name": "Ann"},
            "schools": [{"id": "s1"}, {"id": "s2"}],
            "_private": "kept",
            "items": "shadowed by the dict's method",
        },
        "results": {"Consent Given": Result("Yes")},
    }


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{text}}", "Agent: hello"),
        ("{{text}}\n", "Agent: hello"),
        ("{{text}}\n\n", "Agent: hello\n"),
        ("[{{metadata.missing.deep['x'][0]}}]", "[]"),
        ("[{{nothing}}] [{{nothing.at.all}}] {{nothing|default('none')}}", "[] [] none"),
        ("{{metadata.agent.name}}/{{metadata['agent']['name']|upper}}", "Ann/ANN"),
        ("{{metadata._private}}", "kept"),
        ("{% for s in metadata.schools %}{{s.id}};{% endfor %}", "s1;s2;"),
        ("{% for s in metadata.none %}x{% else %}empty{% endfor %}", "empty"),
        ('{{results["Consent Given"].value|upper}}', "YES"),
        ('{{results["Consent Given"].metadata.explanation}}', "because Yes"),
        ('[{{results["Nope"].value}}] {{results|length}}', "[] 1"),
        ("{% for k, v in results.items() %}{{k}}={{v.value}};{% endfor %}", "Consent Given=Yes;"),
        ("{{text[:5]}} {{text.split(':')|last|trim}}", "Agent hello"),
        ("{% if nothing == 'x' %}a{% elif not nothing %}b{% endif %}", "b"),
        ("{{ None }} {{ true }} {{ [1, 'a'] }}", "None True [1, 'a']"),
        ("{% set seen = [] %}{% set _ = seen.append(1) %}{{ seen }}", "[1]"),
        (
            "{% for i in [1,2] %}{{loop.index}}/{{loop.length}}{{',' if not loop.last}}{% endfor %}",
            "1/2,2/2",
        ),
        (
            "{{ 'a' ~ 1 ~ text[:1] }} {{ '%s-%d' % ('x', 3) }} {{ '{0}!'.format('y') }}",
            "a1A x-3 y!",
        ),
        (
            "{{ {'a': [1]}|tojson }} {{ ['a','b']|join('+') }} {{ 'a\nb'|indent }}",
            '{"a": [1]} a+b a\n    b',
        ),
        (
            "{% for s in metadata.schools %}{{s.id.replace('s', '#')}}{{'{}'.format(1)}}{% endfor %}",
            "#11#21",
        ),
        ("<b>&{{ '<' }}", "<b>&<"),
    ],
)
def test_renders_as_plexus_does(values, template, expected):
    assert render(template, values, missing="empty") == expected


def test_a_missing_top_level_name_is_an_error_where_the_node_asks_for_it(values):
    with pytest.raises(ScoreFailed, match="'absent', 'other'"):
        render(
            "{{absent}} {% if false %}{{other|default('x')}}{% endif %}", values, missing="raise"
        )
    assert render("[{{metadata.absent.deep}}]", values, missing="raise") == "[]"


def test_names_that_a_template_reads_are_known_without_running_it():
    template = (
        "{{a.b}} {% set c = 1 %}{{c}}{% for x in d %}{{x}}{{loop.index}}{% endfor %}{{range(2)}}"
    )
    assert undefined_names(template) == {"a", "d"}


@pytest.mark.parametrize(
    "template",
    [
        "{{ text.__class__ }}",
        "{{ text|attr('__class__') }}",
        "{{ '{0.__class__.__mro__}'.format(text) }}",
        "{{ '{x.__class__}'.format_map({'x': 1}) }}",
        "{{ ['{0.__class__}']|map('format', text)|list }}{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{% set _ = metadata.schools.append(1) %}",
        "{% set _ = metadata.agent.update({'name': 'Eve'}) %}",
        "{{ metadata.clear() }}",
    ],
)
def test_the_sandbox_holds(values, template):
    with pytest.raises((ScorecardError, ScoreFailed)):
        render(template, values, missing="empty")
    assert values["metadata"]["agent"] == {"name": "Ann"}
    assert len(values["metadata"]["schools"]) == 2


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
        "{{ text * 10 ** 9 }}",
        "{{ 10 ** (text|length * 1000000) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(text) }}",
        "{{ text.center(10 ** 9) }}",
        "{{ text.replace('', text * 100000) }}",
        "{{ text|center(1000000000 + text|length) }}",
        "{{ text|indent(1000000000 + text|length) }}",
        "{{ [1]|batch(1000000000 + text|length, 0)|list }}",
        "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(9) }}",
        "{% for i in range(400000) %}{{ 'forty characters, four hundred thousand times' }}{% endfor %}",
        "{% for i in range(400000) %}forty characters, four hundred thousand times{% endfor %}",
    ],
)
def test_a_template_that_would_run_away_is_stopped(values, template):
    with pytest.raises(BudgetExceeded):
        render(template, values, missing="empty")


def test_an_error_names_the_line(values):
    with pytest.raises(ScorecardError, match="template line 2"):
        render("first\n{{ second", values, missing="empty")
    with pytest.raises(ScorecardError, match=r"template line 3.*nofilter"):
        render("1\n2\n{{ text|nofilter }}", values, missing="empty")
    with pytest.raises(ScoreFailed, match="template line 2: UndefinedError"):
        render("1\n{{ nothing + 1 }}", values, missing="empty")
    with pytest.raises(ScoreFailed, match="ZeroDivisionError"):
        render(
            "{{ 1 // metadata.agent|length - 1 }}{{ 1 / (text|length - text|length) }}",
            values,
            missing="empty",
        )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ name }} {{ name|e }} {{ name ~ '&' }}", "A & B A & B A & B&amp;"),
        ("{{ names }}", "[Markup(&#39;a&#39;)]"),
        ("{{ names|join(' & ') }} {{ 'x & y' }}", "a x &amp; y"),
        ("{{ name.replace('A', '<') }} {{ '%s'|format(name) }}", "&lt; & B A &amp; B"),
    ],
)
def test_questions_for_explanations_escape_all_but_texts_of_the_values(template, expected):
    values = {"name": "A & B", "names": ["a"]}
    assert render(template, values, missing="empty", escaping=True) == expected


def test_prompts_are_not_escaped():
    assert render("{{ name }} {{ [name] }}", {"name": "A & 'B'"}, missing="empty") == (
        "A & 'B' [\"A & 'B'\"]"
    )
