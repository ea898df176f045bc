"""The same events through AWS's own emulator and through our local runtime: what comes back is the same.

Where the emulator itself differs from Lambda (it marks no function errors, and times out in plain text), the test
says so: our runtime follows Lambda there.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from plexus_scoring.local import emulator as emulator_module
from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.discovery import find_function
from plexus_scoring.local.emulator import Emulator, find_emulator
from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.lambda_cli import serve
from plexus_scoring.local.stack import LocalDeployment, StackOptions
from plexus_scoring.model.errors import ConfigurationError
from tests.support.aws import require_embedded_aws
from tests.support.clock import HANG_SECONDS
from tests.support.emulator import require_emulator

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = Path(__file__).parent / "functions"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def post(url, body):
    """Return the status and the body of one invocation."""
    address, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(address, timeout=HANG_SECONDS)
    connection.request("POST", f"/{path}", body)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


class Both:
    """One function under the emulator and under our runtime."""

    def __init__(self, emulator, own, name):
        self.urls = {"emulator": emulator.invocations_url, "own": own.invocations_url(name)}

    def send(self, event):
        """Return what each of them answers to an event, without request ids.

        `event` is the event, or makes one from the name of who runs it, which is taken out of the answer.
        """
        return {who: self.ask(who, event(who) if callable(event) else event) for who in self.urls}

    def ask(self, who, event):
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        _, answer = post(self.urls[who], body)
        return json.loads(UUID.sub("ID", answer.decode()).replace(f"{who}-", "job-"))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start one function under both, for the module's time."""
    require_emulator()
    running = []

    def start_both(function):
        folder = tmp_path_factory.mktemp(function.name)
        log = (folder / "emulator.log").open("wb")
        emulator = Emulator(function, log=log)
        own = LocalLambda([function], folder)
        for part in (emulator, own):
            part.__enter__()
            running.append(part)
        running.append(log)
        return Both(emulator, own, function.name)

    yield start_both
    for part in reversed(running):
        part.__exit__(None, None, None)


def probe(handler="probe.act", **settings):
    return LocalFunction(
        name="probe", handler=handler, task_root=FUNCTIONS, timeout=float(HANG_SECONDS), **settings
    )


@pytest.fixture(scope="module")
def probes(start):
    return start(probe())


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        ({"do": "child_of_none"}, {"errorType": "KeyError"}),
        ({"do": "raise", "message": "no such score"}, {"errorMessage": "no such score"}),
        ({"do": "exit", "code": 3}, {"errorType": "Runtime.ExitError"}),
        ({"do": "kill"}, {"errorType": "Runtime.ExitError"}),
        ({"do": "large", "size": 1_000_000}, "x" * 1_000_000),
        ({"do": "large", "size": 7_000_000}, {"errorType": "Function.ResponseSizeTooLarge"}),
    ],
    ids=["unknown", "raises", "exits", "is killed", "answers 1 MB", "answers 7 MB"],
)
def test_each_ending_of_an_invocation_gives_the_same_answer(probes, event, answer):
    given = probes.send(event)
    assert given["own"] == given["emulator"]
    if isinstance(answer, dict):
        assert answer.items() <= given["own"].items()
    else:
        assert given["own"] == answer
    # Both go on afterwards.
    assert [set(after) for after in probes.send({}).values()] == [{"pid"}, {"pid"}]


@pytest.mark.parametrize("handler", ["broken_import.handler", "absent.handler", "probe.absent"])
def test_an_init_error_gives_the_same_answer_to_each_event(start, handler):
    both = start(probe(handler))
    for _ in range(2):
        given = both.send({})
        assert given["own"] == given["emulator"]
        assert given["own"]["errorType"].startswith("Runtime.")


def test_a_handler_sees_the_same_variables(start):
    both = start(probe("probe.describe", memory_mb=512, environment={"MINE": "1"}))
    seen = {who: answer["environment"] for who, answer in both.send({}).items()}
    names = {
        who: {name for name in seen[who] if name.startswith(("AWS_", "LAMBDA_", "_", "MINE"))}
        for who in seen
    }
    credentials = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    # Where the caller has no credentials, the emulator names them all the same. The rest are its own.
    its_own = {
        "AWS_LAMBDA_FUNCTION_TIMEOUT",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    }
    assert names["emulator"] - names["own"] <= credentials | its_own
    for name in (
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "_HANDLER",
        "MINE",
        "AWS_REGION",
    ):
        assert seen["own"][name] == seen["emulator"][name], name


# --- The shipped function ---


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    require_embedded_aws()
    options = StackOptions(
        functions=("score_processing",),
        environment={"PLEXUS_CATALOG_DIR": str(ROOT / "examples")},
        poll=False,
    )
    with LocalDeployment(tmp_path_factory.mktemp("deployment"), options) as running:
        yield running


@pytest.fixture(scope="module")
def scoring(start, deployment):
    root, handler = find_function("score_processing")
    function = LocalFunction(
        name="score_processing",
        handler=handler,
        task_root=root,
        environment=deployment.environment(),
    )
    return start(function)


def request(who, name, **changed):
    body = {
        "request_id": f"{who}-{name}",
        "scorecard": "call-centre-quality",
        "score": "Greeting",
        "item": json.loads((ROOT / "examples/items/call-billing-dispute.json").read_text()),
    }
    return body | changed


def record(arn, number, body):
    return {
        "messageId": f"message-{number}",
        "receiptHandle": f"receipt-{number}",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    }


def responses(deployment):
    """Return the responses sent so far, by request id."""
    sqs, found = deployment.aws.client("sqs"), {}
    while messages := sqs.receive_message(
        QueueUrl=deployment.responses.url, MaxNumberOfMessages=10
    ).get("Messages"):
        for message in messages:
            body = json.loads(message["Body"])
            found[body["request_id"]] = body
    return found


def test_a_good_job_is_scored_under_both(scoring, deployment):
    given = scoring.send(lambda who: request(who, "good"))
    assert given["own"] == given["emulator"]
    (row,) = given["own"]["results"]
    assert (row["id"], row["disposition"]) == ("job-good", "Ack")
    assert [one["value"] for one in row["responses"]] == ["Yes"]
    sent = responses(deployment)
    assert [sent[f"{who}-good"]["value"] for who in scoring.urls] == ["Yes", "Yes"]


def test_a_batch_with_one_bad_record_fails_the_same_records(scoring, deployment):
    def batch(who):
        bodies = [
            request(who, "one"),
            "{not json",
            {"scoring_job_id": f"{who}-unknown"},
            request(who, "two"),
        ]
        arn = deployment.requests.arn
        return {"Records": [record(arn, number, body) for number, body in enumerate(bodies)]}

    given = scoring.send(batch)
    assert given["own"] == given["emulator"]
    assert set(given["own"]) == {"batchItemFailures"}
    sent = responses(deployment)
    for who in scoring.urls:
        assert [sent[f"{who}-{name}"]["value"] for name in ("one", "two")] == ["Yes", "Yes"]
        assert sent[f"{who}-unknown"]["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "event",
    [[], "text", {"unheard": "of"}, {"scoring_job_id": ""}, {"scoring_job_id": "no-such-job"}],
    ids=["list", "text", "unknown shape", "empty id", "unknown job"],
)
def test_an_event_that_is_no_request_gets_the_same_answer(scoring, event):
    given = scoring.send(event)
    assert given["own"] == given["emulator"]


# --- lambda serve --rie ---


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_under_the_emulator_answers_until_it_is_interrupted(stop):
    require_emulator()
    command = [sys.executable, "-c", "from plexus_scoring.cli import main; main()"]
    serving = [
        *command,
        "lambda",
        "serve",
        "--function",
        "sweeper",
        "--port",
        "0",
        "--rie",
        "--format",
        "json",
    ]
    process = subprocess.Popen(
        serving,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL": "http://127.0.0.1:1/queue",
            "PLEXUS_STORE": "memory",
            "AWS_REGION": "x",
        },
    )
    with process:
        lines = iter(process.stdout.readline, "}\n")
        url = json.loads("".join([*lines, "}"]))["url"]
        _, answer = post(url, b"{}")
        process.send_signal(stop)
        _, log = process.communicate(timeout=HANG_SECONDS)
    assert answer
    assert process.returncode == 0
    assert "(rapid)" in log
    assert "Traceback" not in log.partition("Exiting")[2]


LEAVING = """#!{python}
import os, signal, socket, subprocess, sys, time
host, port = sys.argv[2].split(":")
listening = socket.create_server((host, int(port)))
ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(3600)"
with subprocess.Popen([sys.executable, "-c", ignoring], process_group=0):
    pass
"""


def test_nothing_is_left_when_the_emulator_leaves_a_process_behind(tmp_path):
    program = tmp_path / "aws-lambda-rie"
    program.write_text(LEAVING.format(python=sys.executable))
    program.chmod(0o755)
    read, write = os.pipe()
    with os.fdopen(write, "wb") as log, Emulator(probe(), program=program, log=log):
        assert os.read(read, 1) == b"1"  # the process that would be left ignores SIGTERM
    with os.fdopen(read, "rb") as rest:
        rest.read()  # ends when nobody holds the log any more


def test_without_the_emulator_serve_says_in_one_line_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(emulator_module, "_FOLDER", Path("nowhere"))
    with pytest.raises(ConfigurationError, match="run `make rie`") as raised:
        serve("sweeper", 0, rie=True)
    assert "\n" not in raised.value.message


def test_the_emulator_on_the_path_comes_first(monkeypatch, tmp_path):
    program = tmp_path / "aws-lambda-rie"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_emulator() == program


def test_a_taken_port_is_one_clear_line():
    program = require_emulator()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port}"),
            Emulator(probe(), port=port, program=program),
        ):
            pass
