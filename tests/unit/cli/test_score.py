import json
import subprocess
import sys

import pytest

import plexus_scoring.cli
from plexus_scoring.cli.output import print_fields
from tests.support.chat_server import ScriptedChatServer

KEYS = {"status", "value", "explanation", "confidence", "cost", "trace"}


@pytest.fixture
def score(run, scorecard):
    def score(name, item, *more, stdin=None):
        return run(
            "score",
            "--scorecard",
            scorecard,
            "--score",
            name,
            "--item",
            item,
            "--format",
            "json",
            *more,
            stdin=stdin,
        )

    return score


def test_a_score_is_one_json_document_and_exit_code_0(score, item):
    outcome = score("Greeting", item)
    assert outcome.code == 0
    assert outcome.err == ""
    document = outcome.json
    assert set(document) == KEYS
    assert document["status"] == "scored"
    assert document["value"] == "Yes"
    assert document["cost"]["total_cost"] == 0.0
    assert document["trace"]["node_results"][0]["node_name"] == "judge"


def test_text_output_shows_the_value(run, scorecard, item):
    outcome = run("score", "--scorecard", scorecard, "--score", "greeting", "--item", item)
    assert outcome.code == 0
    assert outcome.out.split()[:2] == ["value", "Yes"]


def test_the_item_may_come_by_stdin(score):
    assert score("Greeting", "-", stdin="HELLO").json["value"] == "Yes"
    assert score("Greeting", "-", stdin="").json["value"] == "No"


def test_a_json_item_brings_metadata_and_the_option_is_laid_over_it(score, tmp_path):
    path = tmp_path / "item.json"
    path.write_text(json.dumps({"id": 7, "text": "hello", "metadata": {"agent": "Ann", "x": 1}}))
    assert score("Greeting", path).json["explanation"] == "Ann"
    given = score("Greeting", path, "--metadata", '{"agent": "Bo"}')
    assert given.json["explanation"] == "Bo"
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"agent": "Cy"}')
    assert score("Greeting", path, "--metadata", metadata).json["explanation"] == "Cy"


def test_any_other_file_is_the_text_itself(score, tmp_path):
    path = tmp_path / "item.txt"
    path.write_text('{"text": "hello"}')
    assert score("Greeting", path).json["value"] == "Yes"
    path.write_bytes(b"\xef\xbb\xbfhello\r\n\x00 \xf0\x9f\x91\x8b")
    assert score("Greeting", path).json["value"] == "Yes"


def test_unmet_dependency_and_disabled_score_are_skipped_with_3(score, item, tmp_path):
    cold = tmp_path / "cold.txt"
    cold.write_text("What do you want?")
    assert score("Farewell", item).json["value"] == "True"
    unmet = score("Farewell", cold)
    assert (unmet.code, unmet.json["status"]) == (3, "skipped")
    assert unmet.json["error"]["code"] == "dependency_unmet"
    assert set(unmet.json) == KEYS | {"error"}
    disabled = score("Off", item)
    assert (disabled.code, disabled.json["status"]) == (3, "skipped")
    assert disabled.json["error"]["code"] == "score_disabled"


def test_a_score_that_fails_and_a_model_without_a_key_are_4(score, item):
    failed = score("Broken", item)
    assert (failed.code, failed.json["status"]) == (4, "failed")
    assert failed.json["error"]["code"] == "score_failed"
    assert failed.err.endswith(failed.json["error"]["message"] + "\n")
    keyless = score("Opinion", item)
    assert (keyless.code, keyless.json["status"]) == (4, "failed")
    assert "OPENAI_API_KEY" in keyless.json["error"]["message"]


def test_a_model_that_cannot_answer_is_4_and_one_that_can_costs(score, item, monkeypatch):
    monkeypatch.setenv("PLEXUS_MODEL_ATTEMPTS", "1")
    replies = [{"status": 503}, "Yes"]
    with ScriptedChatServer([{"when": "", "replies": replies}]) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        away = score("Opinion", item)
        assert (away.code, away.json["error"]["code"]) == (4, "engine_unavailable")
        answered = score("Opinion", item)
    assert (answered.code, answered.json["value"]) == (0, "Yes")
    assert answered.json["cost"]["llm_calls"] == 1


def test_undetermined_answers_say_so(score, item, monkeypatch):
    with ScriptedChatServer([{"when": "", "replies": ["maybe"]}]) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        outcome = score("Opinion", item)
    assert outcome.code == 0
    assert (outcome.json["value"], outcome.json["undetermined"]) == ("unknown", True)


BAD_SCORECARDS = {
    "not yaml": ("name: [", "2:1"),
    "a list": ("- a\n- b\n", "1"),
    "no scores": ("name: x\n", "1:1"),
    "empty": ("", "1"),
    "nameless score": ("scores:\n- class: KeywordClassifier\n", "2:3"),
    "name twice": ("scores:\n- {name: A, class: K}\n- {name: A, class: K}\n", "3:3"),
    "unknown class": (
        "scores:\n- name: A\n  class: Clasifier\n  graph: []\n",
        "3:3",
    ),
    "cycle": (
        "scores:\n- {name: A, class: KeywordClassifier, keywords: [a], depends_on: [A]}\n",
        "2:",
    ),
    "tab": ("scores:\n\t- name: A\n", "2:"),
}


@pytest.mark.parametrize("name", BAD_SCORECARDS)
def test_a_bad_scorecard_is_2_with_its_place(run, tmp_path, item, name):
    text, place = BAD_SCORECARDS[name]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    arguments = ("--scorecard", path, "--score", "A", "--item", item, "--format", "json")
    outcome = run("score", *arguments)
    assert outcome.code == 2
    assert outcome.json["status"] == "failed"
    assert outcome.json["error"]["code"] == "scorecard_error"
    assert outcome.json["error"]["message"].startswith(f"{path}:{place}")
    assert outcome.err == outcome.json["error"]["message"] + "\n"


def test_a_scorecard_that_is_not_utf_8_is_2_with_its_place(run, tmp_path, item):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: a\nkey: é\n".encode("latin-1"))
    outcome = run("score", "--scorecard", path, "--score", "A", "--item", item)
    assert outcome.code == 2
    assert outcome.err.startswith(f"{path}:2:6: ")


BAD_ITEMS = {
    "not json": ("{'text'", "item.json:1:2: not JSON"),
    "array": ("[]", "not an array"),
    "no text": ('{"id": "x", "txt": "hello"}', "no text (it has 'txt')"),
    "text is null": ('{"text": null}', "no text"),
    "text is a number": ('{"text": 5}', "a number, not a string"),
    "metadata is a list": ('{"text": "a", "metadata": []}', "metadata must be an object"),
    "id is an object": ('{"id": {}, "text": "a"}', "id is an object"),
    "too deep": ("[" * 100_000, "nested too deeply"),
    "huge number": ('{"text": "a", "metadata": {"n": ' + "9" * 5000 + "}}", "not usable JSON"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_a_bad_item_is_2(score, tmp_path, name):
    text, message = BAD_ITEMS[name]
    path = tmp_path / "item.json"
    path.write_text(text)
    outcome = score("Greeting", path)
    assert (outcome.code, outcome.json["status"]) == (2, "failed")
    assert outcome.json["error"]["code"] == "invalid_request"
    assert message in outcome.json["error"]["message"]


def test_files_that_cannot_be_read_are_2(score, run, scorecard, item, tmp_path, monkeypatch):
    assert score("Greeting", tmp_path / "absent.txt").code == 2
    assert score("Greeting", tmp_path).code == 2
    missing = run("score", "--scorecard", "absent.yaml", "--score", "A", "--item", item)
    assert (missing.code, missing.err) == (2, "absent.yaml: there is no such scorecard file\n")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"ab\ncd\xff")
    assert score("Greeting", latin).json["error"]["message"].startswith(f"{latin}:2:3: not UTF-8")
    monkeypatch.setenv("PLEXUS_MAX_ITEM_BYTES", "10")
    assert "PLEXUS_MAX_ITEM_BYTES=10" in score("Greeting", item).json["error"]["message"]


@pytest.mark.parametrize("metadata", ["[]", "5", "absent.json", "{", '{"a": }'])
def test_bad_metadata_is_2(score, item, metadata):
    outcome = score("Greeting", item, "--metadata", metadata)
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "invalid_request")


def test_an_unknown_score_is_2_and_names_those_that_are_there(score, run, scorecard, item):
    outcome = score("Greetings", item)
    assert outcome.code == 2
    assert "Farewell" in outcome.json["error"]["message"]
    unnamed = run("score", "--scorecard", scorecard, "--item", item)
    assert unnamed.code == 2
    assert "--score: Greeting, Farewell" in unnamed.err


def test_one_score_of_its_own_needs_no_name(run, tmp_path, item):
    path = tmp_path / "bye.yaml"
    path.write_text("name: Bye\nclass: KeywordClassifier\nkeywords: [bye]\n")
    outcome = run("score", "--scorecard", path, "--item", item, "--format", "json")
    assert outcome.json["value"] == "True"


def test_a_lone_surrogate_in_a_json_item_does_no_harm(score, tmp_path):
    path = tmp_path / "item.json"
    path.write_text('{"text": "hello \\ud83d", "metadata": {"agent": "\\udc00"}}')
    outcome = score("Greeting", path)
    assert outcome.code == 0
    assert outcome.json["explanation"] == "\ufffd"


def test_a_malformed_setting_ends_every_command_with_1(score, item, monkeypatch):
    monkeypatch.setenv("PLEXUS_MAX_ATTEMPTS", "many")
    outcome = score("Greeting", item)
    assert outcome.code == 1
    assert outcome.json["error"]["code"] == "configuration_error"
    assert "PLEXUS_MAX_ATTEMPTS" in outcome.err


def test_wrong_usage_is_2(run):
    assert run("score").code == 2
    assert run("scores").code == 2


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(plexus_scoring.cli.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        plexus_scoring.cli.main()
    assert stopped.value.code == 1
    assert "pip install 'plexus-scoring[cli]'" in capsys.readouterr().err


def test_a_deterministic_score_imports_no_service_model_client_or_broker(scorecard, item):
    script = (
        "import sys\n"
        "from plexus_scoring.cli.app import app_for\n"
        "try:\n"
        f"    app_for(['score'])(['score', '--scorecard', {str(scorecard)!r}, '--score', 'Greeting', '--item', "
        f"{str(item)!r}])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'boto3', 'botocore', 'openai', 'httpx', 'sqlalchemy', 'aio_pika', 'fastapi', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0].split() == ["value", "Yes"]
    assert done.stderr.strip() == "[]"


def test_fields_show_an_answer_as_text_and_steer_no_terminal(capsys):
    right_to_left, family = "\u05e9\u05dc", "\U0001f469\u200d\U0001f467"
    print_fields(
        [("value", f"a\x1b[2Jb\r\n{right_to_left} {family}"), ("cost", None), ("nodes", "")]
    )
    assert capsys.readouterr().out == f"value  a\ufffd[2Jb\n       {right_to_left} {family}\n"
