"""Prompt templates: Plexus's treatment of missing values, the sandbox, and the bounds."""

import datetime as dt
import re
import types
from decimal import Decimal

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from plexus_scoring.engines.portable.templates import MAX_CHARACTERS, MAX_TOKENS, Template
from plexus_scoring.engines.portable.templates.pool import Pool
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed
from tests.unit.portable_templates.attacks import ATTACKS

ADDRESS = re.compile(" at 0x[0-9a-f]+")


async def render(template, values, **options):
    return await Template(template).render(values, **options)


class Result:
    """A dependency's result, as templates see it."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.metadata = {"explanation": f"because {value}"}


@pytest.fixture(scope="module")
def hasty():
    """A pool for what must never end: it is stopped at once."""
    pool = Pool(size=1, seconds=0.3)
    yield pool
    pool.close()


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
async def test_renders_as_plexus_does(values, template, expected):
    assert await render(template, values, missing="empty") == expected


async def test_a_missing_top_level_name_is_an_error_where_the_node_asks_for_it(values):
    with pytest.raises(ScoreFailed, match="'absent', 'other'"):
        await render(
            "{{absent}} {% if false %}{{other|default('x')}}{% endif %}", values, missing="raise"
        )
    assert await render("[{{metadata.absent.deep}}]", values, missing="raise") == "[]"


def test_names_that_a_template_reads_are_known_without_running_it():
    template = (
        "{{a.b}} {% set c = 1 %}{{c}}{% for x in d %}{{x}}{{loop.index}}{% endfor %}{{range(2)}}"
    )
    assert Template(template).names == {"a", "d"}


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
async def test_the_sandbox_holds(values, template):
    with pytest.raises((ScorecardError, ScoreFailed)):
        await render(template, values, missing="empty")
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
async def test_a_template_that_would_run_away_is_stopped(values, template, hasty):
    with pytest.raises(BudgetExceeded):
        await render(template, values, missing="empty", pool=hasty)


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_stopped(name, hasty):
    with pytest.raises(BudgetExceeded, match=r"longer than 0.3 s|256 MiB of memory"):
        await render(ATTACKS[name], {"text": "Agent: hello"}, missing="empty", pool=hasty)


@pytest.mark.parametrize("escaping", [False, True])
@pytest.mark.parametrize(
    "template", ["{{ nested }}", "{{ nested.x|string }}", "{{ nested|tojson }}"]
)
async def test_a_given_value_that_is_endless_as_text_is_stopped(template, escaping, hasty):
    nested = [1]
    for _ in range(40):
        nested = [nested, nested]
    values = {"nested": {"x": nested}}
    with pytest.raises(BudgetExceeded):
        await render(template, values, missing="empty", escaping=escaping, pool=hasty)


async def test_an_error_names_the_line(values):
    with pytest.raises(ScorecardError, match="template line 2"):
        await render("first\n{{ second", values, missing="empty")
    with pytest.raises(ScorecardError, match=r"template line 3.*nofilter"):
        await render("1\n2\n{{ text|nofilter }}", values, missing="empty")
    with pytest.raises(ScorecardError, match="template line 2: access to 'clear'"):
        await render("1\n{{ metadata.agent.clear }}", values, missing="empty")
    with pytest.raises(ScoreFailed, match="template line 2: UndefinedError"):
        await render("1\n{{ nothing + 1 }}", values, missing="empty")
    with pytest.raises(ScoreFailed, match="ZeroDivisionError"):
        await render(
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
async def test_questions_for_explanations_escape_all_but_texts_of_the_values(template, expected):
    values = {"name": "A & B", "names": ["a"]}
    assert await render(template, values, missing="empty", escaping=True) == expected


async def test_prompts_are_not_escaped():
    assert await render("{{ name }} {{ [name] }}", {"name": "A & 'B'"}, missing="empty") == (
        "A & 'B' [\"A & 'B'\"]"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("\n{{ " + "1" * 4_301 + " }}", "template line 2: a number of more than 3,500 digits"),
        ("{{\n\n0x" + "f" * 4_301 + " }}", "template line 3: a number of more than 3,500 digits"),
        ("{{ 1." + "1" * 4_301 + " }}", "template line 1: a number of more than 3,500 digits"),
        ("{{ " + "1," * MAX_TOKENS + " }}", "line 1: the template has more than 50,000 words"),
        ("a" * (MAX_CHARACTERS + 1), "template: longer than 500,000 characters"),
        ("{{ " + "not " * 2_000 + "a }}", "template: nested too deeply"),
        ("{{ " + "(" * 2_000 + "a" + ")" * 2_000 + " }}", "template: nested too deeply"),
        ("{{ a" + "|upper" * 2_000 + " }}", "template: nested too deeply"),
        ("{{ " + "a + " * 2_000 + "a }}", "template: nested too deeply"),
        ("{% if a %}" * 2_000 + "{% endif %}" * 2_000, "template: nested too deeply"),
    ],
)
def test_what_is_too_long_or_too_deep_to_be_parsed_is_an_error_of_the_scorecard(template, message):
    with pytest.raises(ScorecardError, match=message):
        Template(template)


async def test_numbers_of_any_base_up_to_the_bound_are_parsed():
    values = {"big": 10**4_299}
    assert await render("{{ big }}", values, missing="empty") == "1" + "0" * 4_299
    template = "{% set n = 0x" + "f" * 3_498 + " %}{{ n > 1 }} {% set m = 10 ** 5000 %}{{ m > 1 }}"
    assert await render(template, {}, missing="empty") == "True True"
    with pytest.raises(ScoreFailed, match="4300 digits"):
        await render("{{ big }}", {"big": 10**5_000}, missing="empty")


async def test_what_only_the_compiler_refuses_is_an_error_of_the_scorecard():
    template = "{% for a in b %}" * 30 + "{% endfor %}" * 30
    with pytest.raises(ScorecardError, match="too many statically nested blocks"):
        await render(template, {"b": [1]}, missing="empty")


@pytest.mark.parametrize(
    ("template", "substitutes"),
    [
        ("plain", True),
        ("{{ a }} {{ a.b['c'][0].d }} {# why #}{% raw %}{{ x }}{% endraw %}", True),
        ("{{ a }}" * 200, True),
        ("{{ a }}" * 201, False),
        ("{{ a[1:] }}", False),
        ("{{ a[b] }}", False),
        ("{{ a[-1] }}", False),
        ("{{ a|upper }}", False),
        ("{{ a() }}", False),
        ("{{ 'a' }}", False),
        ("{{ a ~ b }}", False),
        ("{% if a %}b{% endif %}", False),
        ("{% set a = 1 %}", False),
        ("{{ self }}", False),
        ("{{ range }}", False),
    ],
)
def test_only_a_plain_substitution_is_rendered_in_place(template, substitutes):
    assert Template(template).substitutes is substitutes


def test_parsing_computes_nothing(monkeypatch):
    monkeypatch.setattr(Pool, "render", None)
    for attack in ATTACKS.values():
        assert not Template(attack).substitutes


VALUES = {
    "text": "Agent: <hello> & {{ bye }}\n",
    "empty": "",
    "null": None,
    "yes": True,
    "number": -12,
    "float": 1e300,
    "nan": float("nan"),
    "items": "not the method",
    "metadata": {"text": "Ünï\ud800", "items": [1, {"name": "x"}], 5: "five", "None": "none", "upper": "UP"},
    "list": ["a", None, ["b"]],
    "pair": ("a", {"b": 2.5}),
}  # fmt: skip
KEYS = ["text", "items", "name", "b", "upper", "missing", "None", "_x", "__class__", "clear"]
STEPS = st.one_of(
    st.sampled_from(KEYS).map(lambda key: f".{key}"),
    st.sampled_from([*KEYS, "a b"]).map(lambda key: f"[{key!r}]"),
    st.integers(0, 6).map(lambda number: f"[{number}]"),
)
PATHS = st.builds(
    lambda name, steps: "{{ %s%s }}" % (name, "".join(steps)),  # noqa: UP031 - braces
    st.sampled_from([*VALUES, "missing"]),
    st.lists(STEPS, max_size=3),
)


@settings(deadline=None, max_examples=200)
@given(
    parts=st.lists(PATHS | st.text(alphabet="ab<& \n\u00e9"), max_size=6),
    escaping=st.booleans(),
)
async def test_a_substitution_is_the_same_in_place_and_in_a_process(parts, escaping):
    async def outcome(template):
        try:
            text = await render(template, VALUES, missing="empty", escaping=escaping)
            return ADDRESS.sub("", text)
        except (ScorecardError, ScoreFailed) as error:
            # Where texts are marked, their methods are of other types.
            return type(error), escaping or str(error)

    template = "".join(parts)
    assert Template(template).substitutes
    assert not Template("{% set _ = 1 %}" + template).substitutes
    assert await outcome(template) == await outcome("{% set _ = 1 %}" + template)


async def test_a_value_may_have_the_name_of_what_jinja_offers():
    values = {"range": "of colours", "dict": {"a": 1}}
    template = "{{ range }} {{ dict.a }} {{ text|default('x') }}"
    assert await render(template, values, missing="empty") == "of colours 1 x"
    assert Template(template).names == {"text"}


async def test_values_reach_the_process_as_they_are():
    class Name(str):
        __slots__ = ()

    class Whole(int):
        pass

    values = {
        "object": Result("red"),
        "values": [
            (1, "a"), {1}, b"x", 2.5, None, True, "\ud800", float("inf"), 10**100, Name("n"), Whole(3),
            dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.date(2026, 1, 2), Decimal("1.50"),
            types.MappingProxyType({"a": 1}), dict,
        ],
    }  # fmt: skip
    template = (
        "{% for v in values %}{{ v }}|{% endfor %}"
        "{{ values[11].year }} {{ object.value }} {{ object.metadata.explanation }}"
    )
    assert await render(template, values, missing="empty") == (
        "(1, 'a')|{1}|b'x'|2.5|None|True|\ud800|inf|1"
        + "0" * 100
        + "|n|3|2026-01-02 00:00:00+00:00|2026-01-02|"
        "1.50|{'a': 1}|<class 'dict'>|2026 red because red"
    )


async def test_a_value_that_is_nested_too_deeply_is_an_error():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ScoreFailed, match="nested too deeply"):
        await render("{{ deep|length }}", {"deep": deep}, missing="empty")


ARGUMENTS = {
    "attr": "'x'", "batch": "2", "format": "1", "groupby": "0", "join": "'-'", "map": "'string'", "replace": "'a', 'b'",
    "select": "'eq', 'a'", "reject": "'eq', 'a'", "selectattr": "0", "rejectattr": "0", "slice": "2", "default": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(jinja2.filters.FILTERS) - {"random"}))
@pytest.mark.parametrize(
    "value", ["a <b>&lt; http://x.yz/a\nb c", {"b": 1, "a": [1.5]}, ["ab", "ba"], 3.7]
)
async def test_every_filter_gives_in_the_process_what_it_gives_here(name, value):
    template = "{{ value|%s(%s)%s }}"
    after = "|list" if name in ("batch", "map", "select", "reject", "selectattr", "slice") else ""
    template = template % (name, ARGUMENTS.get(name, ""), after)
    try:
        here = SandboxedEnvironment().from_string(template).render(value=value)
    except Exception as error:  # noqa: BLE001
        with pytest.raises(ScoreFailed, match=type(error).__name__):
            await render(template, {"value": value}, missing="empty")
    else:
        there = await render(template, {"value": value}, missing="empty")
        assert ADDRESS.sub("", there) == ADDRESS.sub("", here)
