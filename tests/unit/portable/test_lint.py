"""Ten broken scorecards, and what their author is told."""

import bisect
import json
from pathlib import Path

import jsonschema
import pytest

from plexus_scoring.engines.portable.lint import Rule, Severity, lint
from plexus_scoring.engines.portable.schema import scorecard_schema
from plexus_scoring.model.yaml_document import parse_yaml
from tests.support.portable import scorecard_of

BROKEN = Path(__file__).parent / "broken"
CASES = Path(__file__).parents[2] / "cases"

# Plexus renders the first empty, leaves the second out, takes the third as a text and gives "No" for the fourth; an
# author wants to know of all.
RUNS_ALL_THE_SAME = (
    Rule.UNDEFINED_VARIABLE,
    Rule.UNKNOWN_DEPENDENCY,
    Rule.UNKNOWN_FIELD,
    Rule.NO_VALUE,
)
VALIDATOR = jsonschema.Draft202012Validator(scorecard_schema())

EXPECTED = {
    "01-not-yaml": [(9, 17, "yaml")],
    "02-unknown-class": [(9, 5, "unknown-class"), (13, 3, "unknown-class")],
    "03-misspelt-key": [
        (7, 3, "unknown-key"),
        (8, 3, "no-value"),
        (12, 5, "unknown-key"),
        (16, 7, "unknown-key"),
    ],
    "04-cycle": [
        (6, 3, "dependency-cycle"),
        (10, 3, "dependency-cycle"),
        (15, 25, "unknown-dependency"),
    ],
    "05-unreachable": [(13, 5, "unreachable-node"), (19, 5, "lost-output")],
    "06-undefined-variable": [
        (14, 5, "undefined-variable"),
        (17, 5, "undefined-variable"),
        (22, 3, "no-value"),
        (25, 5, "template"),
    ],
    "07-condition-not-a-class": [
        (13, 8, "unknown-condition-value"),
        (15, 8, "duplicate-condition"),
        (15, 21, "unknown-node"),
    ],
    "08-regex": [(7, 5, "regex"), (13, 18, "regex")],
    "09-missing-model": [(5, 3, "no-value"), (6, 5, "missing-model"), (16, 1, "code")],
    "10-duplicate-and-types": [
        (10, 21, "invalid-value"),
        (10, 27, "invalid-value"),
        (11, 5, "invalid-value"),
        (12, 5, "duplicate-name"),
        (15, 15, "invalid-value"),
        (15, 31, "invalid-value"),
        (16, 3, "missing-key"),
        (19, 16, "unknown-operator"),
    ],
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_broken_files_are_told_by_place_and_rule(name):
    text = (BROKEN / f"{name}.yaml").read_text(encoding="utf-8")
    found = lint(text, file=f"{name}.yaml")
    assert [(one.line, one.column, str(one.rule)) for one in found] == EXPECTED[name]
    for finding in found:
        assert str(finding).startswith(f"{name}.yaml:{finding.line}:{finding.column}: ")
        assert finding.fix


def test_a_misspelt_name_is_told_by_the_nearest_one():
    found = lint((BROKEN / "02-unknown-class.yaml").read_text(encoding="utf-8"))
    assert [one.fix for one in found] == [
        "did you mean 'Classifier'?",
        "did you mean 'KeywordClassifier'?",
    ]


def test_every_broken_file_is_in_the_table():
    assert {path.stem for path in BROKEN.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir() if path.is_dir()))
def test_what_plexus_runs_has_no_errors_and_fits_the_schema(case):
    text = (CASES / case / "scorecard.yaml").read_text(encoding="utf-8")
    errors = [one for one in lint(text) if one.severity is Severity.ERROR]
    assert [str(one) for one in errors if one.rule not in RUNS_ALL_THE_SAME] == []
    assert [error.message for error in VALIDATOR.iter_errors(parse_yaml(text).data)] == []


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir() if path.is_dir()))
def test_a_score_whose_value_nothing_sets_was_no_in_plexus(case):
    text = (CASES / case / "scorecard.yaml").read_text(encoding="utf-8")
    document = parse_yaml(text)
    first_lines = [
        document.find(("scores", number)).line for number in range(len(document.data["scores"]))
    ]
    expected = json.loads((CASES / case / "expected.json").read_text(encoding="utf-8"))
    values = expected.get("values_of_all_scores", {})
    for finding in lint(text):
        if finding.rule is Rule.NO_VALUE:
            number = bisect.bisect_right(first_lines, finding.line)
            assert values.get(f"score-uuid-{number}", "SKIPPED") in ("No", "SKIPPED", "ERROR")


def test_the_schema_refuses_what_lint_refuses():
    schema = scorecard_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in ("02-unknown-class", "10-duplicate-and-types"):
        data = parse_yaml((BROKEN / f"{name}.yaml").read_text(encoding="utf-8")).data
        assert not validator.is_valid(data), name
    single = {"name": "Greeting", "class": "KeywordClassifier", "keywords": ["hello"]}
    assert validator.is_valid(single)
    assert not validator.is_valid({"name": "Greeting", "class": "KeywordClassifier"})


def test_tactus_is_a_warning_that_names_what_it_needs():
    text = scorecard_of({"name": "Lua", "class": "TactusScore", "code": "return 1"})
    (finding,) = lint(text)
    assert finding.severity is Severity.WARNING
    assert "PLEXUS_PYTHON" in finding.fix


def test_a_good_scorecard_has_no_findings():
    text = scorecard_of(
        {
            "name": "Greeting",
            "graph": [
                {
                    "name": "greeting",
                    "class": "Classifier",
                    "valid_classes": ["Yes", "No"],
                    "user_message": "Greeting? {{text}} {{metadata.agent}}",
                    "conditions": [{"value": "No", "node": "END", "output": {"value": "Fail"}}],
                },
                {
                    "name": "name",
                    "class": "Extractor",
                    "user_message": "Whose? {{text}} {{classification}}",
                },
            ],
            "output": {"value": "classification", "explanation": "extracted_text"},
        }
    )
    assert lint(text) == []


def test_an_endless_loop_is_an_error():
    text = scorecard_of(
        {
            "name": "Loop",
            "graph": [
                {
                    "name": "first",
                    "class": "LogicalClassifier",
                    "code": "def score(p, i): return None",
                },
                {
                    "name": "second",
                    "class": "LogicalClassifier",
                    "code": "def score(p, i): return None",
                    "conditions": [{"value": "x", "node": "first"}],
                    "edge": {"node": "first", "output": {}},
                },
            ],
        }
    )
    assert Rule.ENDLESS_LOOP in {finding.rule for finding in lint(text)}


def test_an_unknown_class_hides_only_the_rules_that_need_every_node():
    text = scorecard_of(
        {
            "name": "Greeting",
            "graph": [
                {"name": "first", "class": "Clasifier", "output": {"seen": "classification"}},
                {
                    "name": "second",
                    "class": "Classifier",
                    "valid_classes": ["Yes", "No"],
                    "user_message": "{{text}} {{seen}}",
                    "conditions": [{"value": "Maybe", "node": "END"}],
                },
            ],
        }
    )
    assert [one.rule for one in lint(text)] == [Rule.UNKNOWN_CLASS, Rule.UNKNOWN_CONDITION_VALUE]


def test_what_code_may_not_is_told_before_it_runs():
    code = "def score(p, i):\n    import re, urllib.parse\n    del p[0:1]\n    return None"
    node = {"name": "first", "class": "LogicalClassifier", "code": code}
    one, other = lint(scorecard_of({"name": "Greeting", "graph": [node]}))
    assert one.rule is other.rule is Rule.CODE
    assert "'urllib.parse' cannot be imported" in one.message
    assert "del of this" in other.message
    assert "TRUST_CODE" in one.fix


def test_lint_runs_nothing_of_a_hostile_scorecard(tmp_path):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\nwhile True: pass\n@print\ndef score(p=open('/x'), i=1): return None"
    node = {"name": "first", "class": "LogicalClassifier", "code": code}
    assert lint(scorecard_of({"name": "Greeting", "graph": [node]})) == []
    assert not canary.exists()


def test_a_rubric_that_a_model_judges_needs_one():
    (finding,) = lint(scorecard_of({"name": "Essay", "class": "RubricScore", "model_name": None}))
    assert finding.rule is Rule.MISSING_MODEL
    assert finding.message == (
        "score 'Essay': a criterion is judged by a model, and there is no `model_name`"
    )
