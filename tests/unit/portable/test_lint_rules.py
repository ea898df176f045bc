"""What lint tells of scorecards that run, and give a value that nobody meant."""

import pytest

from plexus_scoring.engines.portable.lint import Finding, Rule, Severity, lint
from tests.support.portable import scorecard_of

ASKED = {"user_message": "{{text}}"}
JUDGE = {"name": "judge", "class": "Classifier", "valid_classes": ["Yes", "No"], **ASKED}
QUOTE = {"name": "quote", "class": "Extractor", **ASKED}
FINAL = {"value": "classification", "explanation": "explanation"}


def of_graph(*nodes: dict, **keys: object) -> list[Finding]:
    return lint(scorecard_of({"name": "Greeting", "graph": list(nodes), **keys}))


def of_code(code: str, kind: str = "LogicalClassifier") -> list[Finding]:
    node = {"name": "logic", "class": kind, "code": code}
    return of_graph(node, output={"value": "value"})


def test_a_graph_in_which_nothing_sets_value_is_an_error():
    (finding,) = of_graph(JUDGE)
    assert (finding.rule, finding.severity) == (Rule.NO_VALUE, Severity.ERROR)
    assert finding.message == "nothing sets `value`, so the score is always 'No'"
    assert finding.fix.startswith(
        "write `output: {value: classification, explanation: explanation}`"
    )


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        ([JUDGE], {"value": "value"}),
        ([JUDGE], {"explanation": "explanation"}),
        ([QUOTE], {"value": "classification"}),
        ([{**JUDGE, "output": {"kind": "value"}}], {"value": "kind"}),
        ([{**JUDGE, "input": {"text": "value"}}], None),
    ],
)
def test_an_output_that_passes_on_what_nothing_sets_sets_nothing(nodes, output):
    assert Rule.NO_VALUE in {found.rule for found in of_graph(*nodes, output=output)}


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        ([JUDGE], FINAL),
        ([JUDGE], {"value": "Always"}),
        ([{**JUDGE, "output": {"value": "classification"}}], None),
        ([{**JUDGE, "output": {"kind": "classification"}}], {"value": "kind"}),
        ([{**JUDGE, "conditions": [{"value": "No", "node": "END", "output": {"value": "Fail"}}]}], None),
        ([JUDGE, {**QUOTE, "output": {"value": "extracted_text"}}], None),
        ([{"name": "count", "class": "NumericClassifier", **ASKED}], None),
        ([{"name": "l", "class": "LogicalClassifier", "code": "def score(p, i): return None"}], None),
        ([{"name": "l", "class": "LogicalNode", "code": "def execute(c): return {'value': 1}"}], None),
        ([{"name": "l", "class": "LogicalNode", "code": "def execute(c): return dict(value=1)"}], None),
    ],
)  # fmt: skip
def test_a_graph_that_sets_value_has_no_finding(nodes, output):
    assert of_graph(*nodes, output=output) == []


@pytest.mark.parametrize(
    ("nodes", "output", "fix"),
    [
        ([JUDGE], {"value": "clasification"}, "did you mean 'classification'?"),
        ([JUDGE], {"value": "Classification"}, "did you mean 'classification'?"),
        ([JUDGE], {**FINAL, "explanation": "explanaton"}, "did you mean 'explanation'?"),
        ([JUDGE], {"value": "extracted_text"}, "only a node of the class Extractor sets it"),
        ([JUDGE], {"value": "judge"}, "name a field, not a node"),
        ([{**JUDGE, "output": {"kind": "clasification"}}, QUOTE], FINAL, "did you mean 'classification'?"),
        (
            [{**JUDGE, "conditions": [{"value": "No", "output": {"value": "clasification"}}]}],
            FINAL,
            "did you mean 'classification'?",
        ),
        ([{**JUDGE, "edge": {"node": "END", "output": {"why": "explenation"}}}], FINAL, "did you mean"),
    ],
)  # fmt: skip
def test_an_output_that_names_no_field_is_an_error(nodes, output, fix):
    (finding,) = of_graph(*nodes, output=output)
    assert (finding.rule, finding.severity) == (Rule.UNKNOWN_FIELD, Severity.ERROR)
    assert finding.fix.startswith(fix)


def test_a_name_that_resembles_nothing_is_a_warning():
    (finding,) = of_graph(JUDGE, output={"value": "sentiment_label"})
    assert (finding.rule, finding.severity) == (Rule.UNKNOWN_FIELD, Severity.WARNING)


@pytest.mark.parametrize(
    "output",
    [
        {"value": "Always"},
        {"value": "N/A", "explanation": "The line was lost before the end."},
        {"value": "not_applicable"},
        {"value": "no"},
        {"value": 7},
    ],
)
def test_a_text_that_is_meant_is_no_finding(output):
    allowed = {"value": {"valid_classes": ["Always", "not_applicable", "No", "N/A", "7"]}}
    assert of_graph(JUDGE, output=output, validation=allowed) == []


def test_what_a_logical_node_may_return_is_a_field():
    node = {
        "name": "facts",
        "class": "LogicalNode",
        "code": "def execute(context):\n    return {'tier_name': 'gold', 'value': 'x'}",
    }
    assert of_graph(node, output={"value": "value", "explanation": "tier_name"}) == []


def test_an_explanation_outside_of_the_metadata_is_told_with_the_fix():
    (finding,) = lint(
        scorecard_of("""
            name: Greeting
            graph:
            - name: logic
              class: LogicalClassifier
              code: |
                def score(parameters, input):
                    return Score.Result(
                        value="Yes",
                        explanation="because",
                    )
        """)
    )
    assert (finding.rule, finding.severity) == (Rule.LOST_EXPLANATION, Severity.WARNING)
    assert finding.fix == 'write metadata={"explanation": …} instead of explanation=…'
    assert "drops its `explanation`" in finding.message


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        ("def score(p, i): return Score.Result(value='Yes', explanation='b', metadata={'a': 1})", True),
        ("def score(p, i):\n    r = Score.Result(value='Yes')\n    r.explanation = 'b'\n    return r", True),
        ("def score(p, i): return Result(value='Yes', explanation='b')", True),
        ("def score(p, i): return Score.Result(value='Yes', metadata={'explanation': 'b'})", False),
        ("def score(p, i): return Score.Result(value='Y', explanation='b', metadata={'explanation': 'b'})", False),
        ("def score(p, i):\n    m = {}\n    return Score.Result(value='Y', explanation='b', metadata=m)", False),
    ],
)  # fmt: skip
def test_only_an_explanation_that_is_lost_is_told(code, lost):
    assert [found.rule for found in of_code(code)] == [Rule.LOST_EXPLANATION] * lost


@pytest.mark.parametrize(
    ("code", "message", "fix"),
    [
        (
            "def score(parameters, input):\n    value = 'Yes'\n    return Score.Result(value=valeu)",
            "the name 'valeu' does not exist",
            "did you mean 'value'?",
        ),
        (
            "def score(p, i):\n    return Score.Result(value=datetime.now())",
            "the name 'datetime' does not exist",
            "define it, import it, or correct its name",
        ),
        (
            "def score(p, i):\n    return Score.Result(value=str(vars(p)))",
            "'vars' does not exist in the interpreter for scorecards",
            "do without it; PLEXUS_SCORING_TRUST_CODE=1 lifts this for authors you trust",
        ),
    ],
)
def test_a_name_that_does_not_exist_is_an_error(code, message, fix):
    (finding,) = of_code(code)
    assert (finding.rule, finding.severity) == (Rule.UNDEFINED_NAME, Severity.ERROR)
    assert finding.message.endswith(message)
    assert finding.fix == fix


def test_score_is_no_name_in_a_logical_node():
    code = "def execute(context):\n    return {'value': Score.Result(value='x').value}"
    (finding,) = of_code(code, "LogicalNode")
    assert finding.message.endswith("the name 'Score' does not exist")


def test_what_plexus_hands_over_and_what_code_defines_exists():
    code = """
import re
from typing import Optional
WORDS = re.compile("a|b")
def helper(text: Optional[str]) -> list:
    global seen
    seen = [word for word in text.split() if (match := WORDS.match(word))]
    log_info(len(seen)); logging.info("x"); log("y")
    try:
        undefined_somewhere
    except NameError:
        pass
    return sorted(seen, key=lambda one: (one, ascii(one), callable(one)))
def score(parameters: Score.Parameters, input: Score.Input) -> Score.Result:
    return Score.Result(parameters=parameters, value=helper(input.text))
"""
    assert of_code(code) == []


def test_an_input_source_is_told_as_scoring_tells_it():
    (finding,) = of_graph(JUDGE, output=FINAL, item={"class": "DeepgramInputSource"})
    assert (finding.rule, finding.severity) == (Rule.INPUT_SOURCE, Severity.ERROR)
    assert (
        finding.message == "the input source 'DeepgramInputSource' runs on the plexus engine only"
    )
    assert "PLEXUS_SCORING_ENGINE" in finding.fix


def test_keys_that_only_tools_read_are_known():
    text = """
name: Misrepresentation
model_name: gpt-4o-mini
class: LangGraphScore
valid_classes: [Copay, None]
parent: 65440950-54a7-4122-b678-12f27620e46e
graph:
- name: judge
  class: Classifier
  valid_classes: [Copay, None]
  user_message: >
    What is claimed?

    {{text}}
  output:
    kind: classification
- name: final
  class: LogicalClassifier
  code: >
    def score(parameters: Score.Parameters, input: Score.Input) ->
    Score.Result:
        value = "Yes" if input.metadata.get('kind') == 'None' else "No"

        return Score.Result(parameters=parameters, value=value)
  output:
    value: value
data:
  class: FeedbackItems
  scorecard: 1438
  days: 180
  queries: [{scorecard_id: 1, query: x, minimum_calibration_count: 3}]
  balance: false
"""
    assert lint(text) == []


def test_a_number_that_plexus_writes_in_another_way_is_told():
    text = """
name: Numbers
id: 0045
model_name: gpt-4o-mini
temperature: 1e-1
graph:
- name: judge
  class: Classifier
  valid_classes: [007, 1e3, 0x1F, 1_000, .5, 2024-01-01, 7, 1.5]
  user_message: "{{text}}"
output: {value: classification}
"""
    found = lint(text)
    assert {one.rule for one in found} == {Rule.UNQUOTED_NUMBER}
    assert [one.fix for one in found] == [
        f'put quotes around it: "{number}"'
        for number in ("0045", "007", "1e3", "0x1F", "1_000", ".5")
    ]
    assert found[1].message == "007 is the text '007' here; Plexus's own loader makes 7 of it"


@pytest.mark.parametrize("place", ["score", "node"])
@pytest.mark.parametrize(
    ("provider", "fix"),
    [("ChatOpenAi", "did you mean 'ChatOpenAI'?"), ("ChatGroq", "use one of ChatOpenAI")],
)
def test_a_provider_that_scoring_refuses_is_an_error(place, provider, fix):
    named = {"model_provider": provider}
    if place == "score":
        (finding,) = of_graph(JUDGE, output=FINAL, **named)
    else:
        (finding,) = of_graph({**JUDGE, **named}, output=FINAL)
    assert (finding.rule, finding.severity) == (Rule.INVALID_VALUE, Severity.ERROR)
    assert provider in finding.message
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    "provider", ["BedrockChat", "ChatVertexAI", "langchain_mistralai.ChatMistralAI"]
)
def test_a_provider_that_scoring_takes_is_no_finding(provider):
    assert of_graph(JUDGE, output=FINAL, model_provider=provider) == []


def test_a_name_in_single_braces_is_told():
    asked = {**JUDGE, "user_message": "Was there a greeting in {text}?"}
    (finding,) = of_graph(asked, output=FINAL)
    assert (finding.rule, finding.severity) == (Rule.TEMPLATE, Severity.WARNING)
    assert finding.fix == "write {{text}}"


@pytest.mark.parametrize(
    "message",
    [
        '{{text}} Answer as {"value": 1}',
        "{{ text }} {{text}}",
        "{{text}} {% if text %}x{% endif %}",
        "{{text}} Fill in {name_of_agent} and ${text}",
    ],
)
def test_other_braces_are_no_finding(message):
    assert of_graph({**JUDGE, "user_message": message}, output=FINAL) == []
