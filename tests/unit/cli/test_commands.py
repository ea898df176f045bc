import asyncio
import json
import logging
import os
import re
import threading
import typing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
import typer
from moto import mock_aws

import plexus_scoring
from plexus_scoring.bootstrap import open_application
from plexus_scoring.cli.app import MODULES, app_for, build
from plexus_scoring.cli.command import load_settings
from plexus_scoring.cli.exits import Exit, exit_of
from plexus_scoring.cli.probes import model_endpoint, sandbox
from plexus_scoring.cli.variables import sections
from plexus_scoring.engines.sandbox.confinement import Confinement
from plexus_scoring.model import errors
from plexus_scoring.settings import Settings
from plexus_scoring.stores import dynamodb
from plexus_scoring.telemetry.logs import JobLogHandler
from tests.unit.cli.conftest import GREETING

DOCS = Path(__file__).resolve().parents[3] / "docs"


def leaves(command, path=()):
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from leaves(child, (*path, name))


COMMANDS = {" ".join(path): command for path, command in leaves(typer.main.get_command(build()))}
NOT_DATA = {
    "worker",
    "config docs",
    "scorecards schema",
    "dlq show",
}  # they print documents, or nothing


def test_every_command_has_help_and_is_documented():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        assert command.help, name
        assert re.search(rf"\b{name.split()[0]}\b", page), name


def test_every_error_has_an_exit_code_of_the_page():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.ScoringError)
        and kind is not errors.ScoringError
    ]
    assert len(kinds) > 10
    assert {exit_of(kind("x")) for kind in kinds} == {
        Exit.PROBLEM,
        Exit.BAD_INPUT,
        Exit.SKIPPED,
        Exit.FAILED,
    }
    for kind in kinds:
        if kind.code not in {"lease_lost", "attempts_exhausted"}:  # no command ends with these
            assert f"`{kind.code}`" in page, kind


def test_the_settings_page_is_current(run):
    outcome = run("config", "docs", DOCS / "settings.md", "--check")
    assert outcome.code == 0, outcome.err


def test_a_stale_settings_page_is_found_and_mended(run, tmp_path):
    page = tmp_path / "settings.md"
    page.write_text("# Settings\n")
    assert run("config", "docs", page, "--check").code == 1
    assert page.read_text() == "# Settings\n"
    assert run("config", "docs", page).code == 0
    assert run("config", "docs", page, "--check").code == 0
    assert run("config", "docs").out == page.read_text()


def test_config_check_masks_secrets_and_names_sources(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("PLEXUS_DATABASE_URL", "postgresql://u:very-secret@h/d")
    monkeypatch.setenv("PLEXUS_MAX_ATTEMPTS", "9")
    outcome = run("config", "check", "--format", "json")
    assert outcome.code == 0
    assert "very-secret" not in outcome.out + outcome.err
    assert "very-secret" not in run("config", "check").out
    rows = {row["name"]: row for row in outcome.json["settings"]}
    assert set(rows) == {row.name for part in sections() for row in part.rows}
    assert (rows["PLEXUS_MAX_ATTEMPTS"]["value"], rows["PLEXUS_MAX_ATTEMPTS"]["source"]) == (
        "9",
        "environment",
    )
    assert rows["OPENAI_API_KEY"]["value"] == "********"
    assert rows["PLEXUS_API_KEY"]["value"] is None


def test_config_check_names_all_that_is_missing_or_malformed(run, monkeypatch):
    outcome = run("config", "check", "--for", "score_processing", "--format", "json")
    assert outcome.code == 1
    (problem,) = outcome.json["problems"]
    for name in (
        "PLEXUS_ACCOUNT_KEY",
        "PLEXUS_RESPONSE_WORKER_QUEUE_URL",
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME",
    ):
        assert name in problem
    monkeypatch.setenv("PLEXUS_MAX_ATTEMPTS", "many")
    monkeypatch.setenv("PLEXUS_STORE", "paper")
    monkeypatch.setenv("PLEXUS_MODEL_ATTEMPTS", "0")
    malformed = run("config", "check", "--format", "json").json["problems"]
    assert [problem.split(":")[0] for problem in malformed] == [
        "PLEXUS_STORE",
        "PLEXUS_MAX_ATTEMPTS",
        "PLEXUS_MODEL_ATTEMPTS",
    ]


def test_config_check_names_what_is_no_setting(run, monkeypatch):
    monkeypatch.setenv("PLEXUS_CONCURENCY", "5")
    monkeypatch.setenv("PLEXUS_MODEL_CONCURRENCY_OPENAI", "5")
    told = run("config", "check", "--format", "json")
    assert told.code == 0
    [line] = told.json["unknown"]
    assert line == "PLEXUS_CONCURENCY is set, but is no setting: did you mean PLEXUS_CONCURRENCY?"
    assert line in told.err


def test_config_check_asks_for_what_the_transport_needs(run, monkeypatch):
    assert "PLEXUS_TRANSPORT" in run("config", "check", "--for", "worker").err
    monkeypatch.setenv("PLEXUS_TRANSPORT", "rabbitmq")
    outcome = run("config", "check", "--for", "worker")
    assert outcome.code == 1
    assert "PLEXUS_RABBITMQ_URL, PLEXUS_RABBITMQ_REQUEST_QUEUE" in outcome.err
    monkeypatch.setenv("PLEXUS_TRANSPORT", "redis")
    monkeypatch.setenv("PLEXUS_REDIS_URL", "redis://x")
    assert run("config", "check", "--for", "worker").code == 0
    monkeypatch.setenv("PLEXUS_TRANSPORT", "memory")
    assert run("config", "check", "--for", "worker").code == 1
    assert run("submit", "--scorecard", "x", "--score", "y", "--item-id", "z").code == 1


@pytest.mark.parametrize("name", ["PLEXUS_RABBITMQ_URL", "PLEXUS_API_URL", "OPENAI_BASE_URL"])
def test_config_check_refuses_a_url_of_another_scheme(run, monkeypatch, name):
    monkeypatch.setenv(name, "ftp://user:secret@x")
    outcome = run("config", "check")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith(f"{name} must begin with ")
    assert "secret" not in outcome.err


@pytest.mark.parametrize("function", ["score_processing", "sweeper"])
def test_a_function_without_its_variables_is_not_served(run, function):
    outcome = run("lambda", "serve", "--function", function, "--port", "0")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith("missing environment variable")


# Variables that the code names and does not read: it sets them, or hands them to what reads them.
_NOT_READ = {"PLEXUS_DISABLE_CLOUDWATCH_LOGS"}


def test_every_variable_that_the_code_reads_is_documented():
    known = {row.name for part in sections() for row in part.rows}
    source = Path(typing.cast("str", plexus_scoring.__file__)).parent
    files = [*source.rglob("*.py"), *(DOCS.parent / "lambda_functions").rglob("*.py")]
    named = {
        name
        for file in files
        for name in re.findall(
            r'"((?:PLEXUS|OTEL|E2B)_[A-Z0-9_]*[A-Z0-9])"', file.read_text("utf-8")
        )
    }
    aliases = {"E2B_TEMPLATE_ID"}
    assert named - known - aliases - _NOT_READ == set()
    assert {"PLEXUS_RUBRICS_DIR", "PLEXUS_SANDBOX_ALLOW_WEAK", "OTEL_SERVICE_NAME"} <= known


def test_the_settings_page_says_what_needs_a_variable(run):
    rows = {
        line.split("`")[1]: line.split(" | ")
        for line in run("config", "docs").out.splitlines()
        if line.startswith("| `")
    }
    assert rows["PLEXUS_RABBITMQ_URL"][3] == "`worker` on rabbitmq"
    assert rows["PLEXUS_ACCOUNT_KEY"][3] == "`score_processing`, store plexus_api"
    assert (
        rows["PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL"][3] == "`sweeper`, `worker` on sqs"
    )


def test_lint_reports_places_and_fails_on_errors_only(run, scorecard, tmp_path):
    assert run("scorecards", "lint", scorecard).code == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: B\nscores:\n- name: A\n  class: Clasifier\n")
    outcome = run("scorecards", "lint", scorecard, bad, "--format", "json")
    assert (outcome.code, outcome.json["ok"]) == (2, False)
    assert {finding["file"] for finding in outcome.json["findings"]} == {str(bad)}
    text = run("scorecards", "lint", bad)
    assert re.match(rf"{re.escape(str(bad))}:\d+:\d+: error \[", text.out)
    assert run("scorecards", "lint", tmp_path / "absent.yaml").code == 2


def test_the_examples_have_nothing_to_lint(run):
    cards = sorted((DOCS.parent / "examples" / "scorecards").glob("*.yaml"))
    assert len(cards) >= 2
    outcome = run("scorecards", "lint", "--strict", *cards)
    assert (outcome.code, outcome.out) == (0, "")


def test_the_schema_is_json(run, tmp_path):
    printed = run("scorecards", "schema").json
    assert run("scorecards", "schema", tmp_path / "s.json").code == 0
    assert json.loads((tmp_path / "s.json").read_text()) == printed


def test_a_job_from_submit_to_redrive_on_the_embedded_database(run, scorecard, item):
    before = run("jobs", "list")
    assert before.code in {1, 4}
    assert "plexus-scoring db upgrade" in before.err
    assert run("db", "upgrade", "--format", "json").json["version"]

    submitted = run(
        "submit", "--scorecard", scorecard, "--score", "Greeting", "--item", item, "--id", "j-1"
    )
    assert (submitted.code, submitted.out) == (0, "j-1\n")
    assert "no queue is set" in submitted.err
    again = run(
        "submit",
        "--scorecard",
        "calls",
        "--score",
        "Greeting",
        "--item-id",
        "absent",
        "--id",
        "j-1",
        "--format",
        "json",
    )
    assert (again.code, again.json["error"]["code"]) == (2, "invalid_request")
    assert "use a new id" in again.err
    theirs = ("--account", "acme", "--id", "j-1")
    submit = ("submit", "--scorecard", "calls", "--score", "Greeting", "--item-id", "absent")
    assert run(*submit, *theirs).code == 0
    theirs = run("jobs", "show", "j-1", "--account", "acme", "--format", "json").json["job"]
    assert (theirs["account"], theirs["item_id"]) == ("acme", "absent")

    listed = run("jobs", "list", "--status", "pending", "--format", "json").json["jobs"]
    assert [job["id"] for job in listed] == ["j-1"]
    shown = run("jobs", "show", "j-1", "--format", "json")
    assert shown.json["job"]["status"] == "PENDING"
    assert shown.json["job"]["item"]["characters"] == 38
    assert "Hello" not in shown.out + run("jobs", "show", "j-1").out
    assert shown.json["result"] is None

    assert "'stranger'" in run("jobs", "show", "j-1", "--account", "stranger").err
    refused = run("jobs", "redrive", "j-1", "absent", "--format", "json")
    assert refused.code == 2
    assert refused.json["redriven"] == []
    assert [one["code"] for one in refused.json["refused"]] == ["invalid_request", "not_found"]
    assert "job 'j-1' is PENDING and has no result" in run("results", "show", "j-1").err
    assert run("jobs", "show", "absent", "--format", "json").json["error"]["code"] == "not_found"


def test_a_failed_job_shows_its_log_and_the_trace_so_far(run, scorecard, item):
    run("db", "upgrade")
    run("submit", "--scorecard", scorecard, "--score", "Broken", "--item", item, "--id", "j-1")
    assert "there is no log of a failed attempt" in run("results", "show", "j-1", "--log").err

    async def work():
        logging.getLogger().handlers.append(JobLogHandler())
        async with open_application(Settings.from_environment()) as app:
            await app.service.handle_oldest(account="default")

    asyncio.run(work())
    assert run("jobs", "show", "j-1", "--format", "json").json["job"]["status"] == "FAILED"
    log = run("results", "show", "j-1", "--log")
    assert log.code == 0
    assert "attempt failed" in log.out
    assert log.out == run("results", "show", "j-1", "--log", "--attempt", "1").out
    trace = json.loads(run("results", "show", "j-1", "--trace").out)
    assert [one["node_name"] for one in trace["node_results"]] == ["first"]
    absent = run("results", "show", "j-1", "--log", "--attempt", "2")
    assert (absent.code, "j-1" in absent.err) == (2, True)
    none = run("results", "show", "j-1")
    assert none.code == 2
    assert "job 'j-1' is FAILED and has no result" in none.err
    assert "`plexus-scoring jobs show j-1` says why" in none.err

    submit = ("submit", "--scorecard", "calls", "--score", "Greeting", "--item", item)
    run(*submit, "--id", "j-0")
    asyncio.run(work())
    run("submit", "--scorecard", "calls", "--score", "Broken", "--item", item, "--id", "j-2")
    asyncio.run(work())
    statuses = [line.split("\t")[:2] for line in run("jobs", "list").out.splitlines()]
    assert statuses == [["j-2", "FAILED"], ["j-0", "COMPLETED"], ["j-1", "FAILED"]]
    listed = run("jobs", "list", "--oldest-first", "--format", "json").json["jobs"]
    assert [one["id"] for one in listed] == ["j-1", "j-0", "j-2"]


def test_the_upgrade_of_a_table_tells_what_is_left(run, monkeypatch):
    for name, value in (
        ("PLEXUS_STORE", "dynamodb"), ("PLEXUS_JOBS_TABLE_NAME", "jobs"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("dynamodb")
        dynamodb.create_table(client, "jobs")
        job = {
            "pk": {"S": "JOB#j-1"}, "sk": {"S": "JOB"}, "account": {"S": "acme"}, "body": {"S": "{}"},
            "status": {"S": "IN_PROGRESS"}, "lease_token": {"S": "t"}, "attempt": {"N": "1"},
            "lease_expires_at": {"N": "9e9"}, "created_at": {"N": "1"}, "updated_at": {"N": "1"},
            "not_before": {"N": "0"},
        }  # fmt: skip
        client.put_item(TableName="jobs", Item=job)
        busy = run("db", "upgrade", "--format", "json")
        assert (busy.code, busy.json) == (4, {"moved": 0, "left": 1})
        client.put_item(TableName="jobs", Item={**job, "lease_expires_at": {"N": "1"}})
        done = run("db", "upgrade")
        assert (done.code, "1 rows moved, 0 left" in done.out) == (0, True)


def test_purge_deletes_what_ended_long_ago(run, monkeypatch):
    monkeypatch.delenv("PLEXUS_RETENTION_DAYS", raising=False)
    run("db", "upgrade")
    refused = run("db", "purge")
    assert refused.code != 0
    assert "--older-than or PLEXUS_RETENTION_DAYS" in refused.err
    monkeypatch.setenv("PLEXUS_RETENTION_DAYS", "30")
    assert run("db", "purge", "--format", "json").json == {"jobs": 0, "checkpoints": 0}
    assert "Deleted 0 jobs" in run("db", "purge", "--older-than", "0").out


def test_submit_waits_no_longer_than_asked(run, scorecard, item):
    run("db", "upgrade")
    arguments = ("--scorecard", scorecard, "--score", "Greeting", "--item", item, "--wait", "0")
    outcome = run("submit", *arguments, "--format", "json")
    assert (outcome.code, outcome.json["results"]) == (4, [None])


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "--scorecard", "x", "--score", "y"],
        [
            "submit",
            "--scorecard",
            "x",
            "--score",
            "y",
            "--item-id",
            "a",
            "--item-id",
            "b",
            "--id",
            "c",
        ],
        ["jobs", "redrive"],
        ["jobs", "redrive", "a", "--all"],
        ["jobs", "list", "--cursor", "x"],
        ["results", "show", "x", "--log", "--trace"],
        ["results", "show", "x", "--attempt", "1"],
        ["lambda", "invoke", "--function", "score_processing", "--event", "absent.json"],
        ["sandbox", "run", "absent.py"],
    ],
)
def test_requests_that_make_no_sense_are_2(run, arguments):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


def test_doctor_says_what_is_wrong_and_how_to_mend_it(run):
    failed = run("doctor", "--format", "json")
    assert failed.code == 1
    (problem,) = [check for check in failed.json["checks"] if check["status"] == "fail"]
    assert problem["name"] == "store"
    assert "db upgrade" in problem["detail"] + problem["fix"]
    run("db", "upgrade")
    healthy = run("doctor", "--format", "json")
    assert (healthy.code, healthy.json["ok"]) == (0, True)
    text = run("doctor")
    assert text.code == 0
    assert len(text.out.splitlines()) == len(healthy.json["checks"])


def test_doctor_names_a_broker_that_is_not_there(run, monkeypatch):
    run("db", "upgrade")
    monkeypatch.setenv("PLEXUS_TRANSPORT", "redis")
    monkeypatch.setenv("PLEXUS_REDIS_URL", "redis://127.0.0.1:9")
    outcome = run("doctor", "--format", "json")
    assert outcome.code == 1
    (problem,) = [check for check in outcome.json["checks"] if check["status"] == "fail"]
    assert problem["name"] == "redis"
    assert "PLEXUS_TRANSPORT" in problem["fix"]


def test_doctor_names_a_malformed_setting(run, monkeypatch):
    monkeypatch.setenv("PLEXUS_STORE", "paper")
    outcome = run("doctor", "--format", "json")
    assert outcome.code == 1
    assert "PLEXUS_STORE" in next(
        c["detail"] for c in outcome.json["checks"] if c["status"] == "fail"
    )


@pytest.fixture
def endpoint():
    """Serve an endpoint that answers every request with the status in its path's first part."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.split("/")[1]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "expected"), [(200, "ok"), (404, "ok"), (401, "fail"), (503, "fail")]
)
async def test_doctor_tells_a_refusing_endpoint_from_one_without_a_list(endpoint, status, expected):
    check = await model_endpoint(
        {"OPENAI_BASE_URL": f"{endpoint}/{status}", "OPENAI_API_KEY": "sk-x"}
    )
    assert check.status == expected
    assert (check.fix is None) == (expected == "ok")
    assert "sk-x" not in check.detail


async def test_doctor_names_an_endpoint_that_is_not_there():
    assert (await model_endpoint({})).status == "off"
    assert (await model_endpoint({"OPENAI_BASE_URL": "localhost:1"})).status == "fail"
    gone = await model_endpoint({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert (gone.status, "cannot be reached" in gone.detail) == ("fail", True)


@pytest.mark.parametrize(
    ("environ", "found", "status", "detail"),
    [
        ({"E2B_API_KEY": "k"}, None, "ok", "at E2B"),
        ({}, Confinement(holds=("network", "files")), "ok", "network, files"),
        ({}, Confinement(missing="bwrap is not installed"), "off", "bwrap is not installed"),
    ],
)
async def test_doctor_says_whether_submitted_code_is_confined(
    monkeypatch, environ, found, status, detail
):
    async def look():
        return found

    monkeypatch.setattr("plexus_scoring.engines.sandbox.confinement.confinement", look)
    check = await sandbox(environ)
    assert (check.name, check.status) == ("sandbox", status)
    assert detail in check.detail
    assert (check.fix is None) == (status == "ok")


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("PLEXUS_MAX_ATTEMPTS", "")
    assert load_settings().max_attempts == 5
    assert os.environ["PLEXUS_MAX_ATTEMPTS"] == ""


@pytest.mark.parametrize("module", MODULES)
def test_a_command_is_built_from_its_own_module(module):
    assert set(typer.main.get_command(build([module])).commands) == set(MODULES[module])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["nonsense"], ["--version", "score"]])
def test_whatever_names_no_command_first_sees_all(arguments):
    commands = tuple(typer.main.get_command(app_for(arguments)).commands)
    assert set(commands) == {name for names in MODULES.values() for name in names}


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("--bogus",),
        ("score",),
        ("score", "--scorecard"),
        ("jobs", "bogus"),
        ("jobs", "list", "--status", "BOGUS"),
        ("submit", "--scorecard", "a", "--score", "b", "--wait", "-1"),
    ],
)
def test_wrong_usage_is_one_line_and_one_document(run, arguments):
    told = run(*arguments)
    assert (told.code, told.out) == (2, "")
    [line] = told.err.splitlines()
    assert re.match(r"plexus-scoring.*: .+; see `plexus-scoring.* --help`$", line)
    first, *more = arguments
    as_json = (
        run(first, "--format", "json", *more)
        if first == "score"
        else run(*arguments, "--format=json")
    )
    assert as_json.code == 2
    assert as_json.json["error"]["code"] == "invalid_request"
    assert as_json.err.count("\n") == 1


def test_a_group_alone_prints_its_help(run):
    assert "redrive" in run("jobs").out


def test_an_error_that_nobody_foresaw_is_a_line_and_no_stack(run, monkeypatch, scorecard):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plexus_scoring.cli.scorecards.read_scorecard", broken)
    told = run("scorecards", "push", scorecard, "--format", "json")
    assert (told.code, told.json["error"]["code"]) == (4, "unexpected_error")
    assert told.err.splitlines() == [told.json["error"]["message"]]
    assert "No space left on device" in told.err


def test_lint_says_what_a_file_that_is_no_scorecard_lacks(run, tmp_path):
    file = tmp_path / "call.txt"
    file.write_text("Agent hello")
    told = run("scorecards", "lint", file)
    assert told.code == 2
    assert "this is text" in told.out + told.err
    assert "see docs/plexus-compatibility.md" in told.out + told.err


def test_lint_goes_on_after_a_file_that_cannot_be_read(run, scorecard, tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9")
    told = run("scorecards", "lint", tmp_path / "absent.yaml", latin, scorecard, "--format", "json")
    assert told.code == 2
    places = [(Path(found["file"]).name, found["column"]) for found in told.json["findings"]]
    assert places[:2] == [("absent.yaml", 1), ("latin.yaml", 10)]


def test_a_schema_that_cannot_be_written_is_bad_input(run, tmp_path):
    told = run("scorecards", "schema", tmp_path / "absent" / "file")
    assert told.code == 2
    assert "cannot be written" in told.err


def test_stdin_is_read_once_and_no_further_than_its_limit(run, scorecard, monkeypatch):
    twice = run("score", "--scorecard", "-", "--item", "-", "--score", "Greeting", stdin=GREETING)
    assert (twice.code, "twice" in twice.err) == (2, True)
    monkeypatch.setenv("PLEXUS_MAX_ITEM_BYTES", "1000")
    for item, text in (("/dev/zero", None), ("-", "x" * 2_000)):
        told = run(
            "score", "--scorecard", scorecard, "--item", item, "--score", "Greeting", stdin=text
        )
        assert (told.code, "PLEXUS_MAX_ITEM_BYTES=1000" in told.err) == (2, True)


def test_an_event_that_is_no_json_names_the_place(run, tmp_path):
    event = tmp_path / "event.json"
    event.write_text("{\n bad", encoding="utf-8")
    told = run("lambda", "invoke", "--function", "score_processing", "--event", event)
    assert (told.code, "event.json:2:2: not JSON" in told.err) == (2, True)
    event.write_text("{}", encoding="utf-8")
    assert run("lambda", "invoke", "--function", "absent", "--event", event).code == 2


def test_the_same_id_with_another_item_is_told(run, scorecard, item, tmp_path, monkeypatch):
    monkeypatch.setenv("PLEXUS_DATABASE_URL", f"sqlite:///{tmp_path}/jobs.db")
    assert run("db", "upgrade").code == 0
    command = (
        "submit",
        "--scorecard",
        scorecard,
        "--score",
        "Greeting",
        "--format",
        "json",
        "--id",
    )
    assert run(*command, "j", "--item", item).code == 0
    assert run(*command, "j", "--item", item).code == 0
    other = tmp_path / "other.txt"
    other.write_text("Hi.", encoding="utf-8")
    told = run(*command, "j", "--item", other)
    assert (told.code, "job j: the id is used already" in told.err) == (2, True)
    assert run(*command, "", "--item", other).code == 2


def test_a_broker_that_is_away_is_told_in_one_line(run, monkeypatch):
    monkeypatch.setenv("PLEXUS_TRANSPORT", "rabbitmq")
    monkeypatch.setenv("PLEXUS_RABBITMQ_URL", "amqp://ann:hunter2@127.0.0.1:1/")
    monkeypatch.setenv("PLEXUS_RABBITMQ_REQUEST_QUEUE", "q")
    monkeypatch.setenv("PLEXUS_RABBITMQ_RESPONSE_QUEUE", "r")
    told = run("queue", "stats")
    assert told.code == 4
    [line] = told.err.splitlines()
    assert line.startswith("RabbitMQ cannot be reached")
    assert "hunter2" not in line
