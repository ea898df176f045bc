"""What someone types who knows AWS: `aws lambda …` against `lambda serve`, with the real AWS CLI."""

import base64
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.aws import require_embedded_aws
from tests.support.aws_cli import aws, require_aws_cli
from tests.support.clock import HANG_SECONDS

EVENT = {"unheard": "of"}


@pytest.fixture(scope="module")
def announced():
    """The variables that `lambda serve --embedded` prints."""
    require_aws_cli()
    require_embedded_aws()
    command = [sys.executable, "-c", "from plexus_scoring.cli import main; main()"]
    serving = [*command, "lambda", "serve", "--function", "score_processing", "--port", "0"]
    process = subprocess.Popen(
        [*serving, "--embedded"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PLEXUS_SCORING_MODE": "mock", "LOG_LEVEL": "INFO"},
    )
    with process:
        variables = {}
        for line in process.stderr:
            if line.startswith("Serving at"):
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            variables[name] = value
        yield variables
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=HANG_SECONDS)


def endpoints(announced, *names):
    return {name: announced[name] for name in names}


@pytest.mark.parametrize(
    "names",
    [
        ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA"),
        ("AWS_ENDPOINT_URL_LAMBDA",),
        ("AWS_ENDPOINT_URL",),
    ],
    ids=" ".join,
)
def test_invoke_shows_the_end_of_the_log(announced, tmp_path, names):
    answer = tmp_path / "answer.json"
    event = tmp_path / "event.json"
    event.write_text(json.dumps(EVENT))

    done = aws(
        "lambda", "invoke", "--function-name", "score_processing", "--payload", f"fileb://{event}",
        "--log-type", "Tail", "--query", "LogResult", "--output", "text", str(answer),
        environment=endpoints(announced, *names),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    log = base64.b64decode(done.stdout).decode()
    assert "START RequestId: " in log
    assert "REPORT RequestId: " in log
    assert "InvalidRequest" in answer.read_text()


def test_get_function_tells_what_it_is(announced):
    done = aws(
        "lambda", "get-function", "--function-name", "score_processing",
        environment=endpoints(announced, "AWS_ENDPOINT_URL_LAMBDA"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    configuration = json.loads(done.stdout)["Configuration"]
    assert configuration["Handler"] == "lambda_functions.score_processing.handler.handler"
    assert configuration["Timeout"] == 300
    assert configuration["State"] == "Active"
    assert "Environment" not in configuration  # it holds keys


def test_list_functions_and_the_waiter_work(announced):
    lambda_only = endpoints(announced, "AWS_ENDPOINT_URL_LAMBDA")
    listed = aws(
        "lambda", "list-functions", "--query", "Functions[].FunctionName", environment=lambda_only
    )
    assert json.loads(listed.stdout) == ["score_processing"]
    waited = aws(
        "lambda", "wait", "function-updated-v2", "--function-name", "score_processing",
        environment=lambda_only,
    )  # fmt: skip
    assert waited.returncode == 0, waited.stderr


def test_an_unknown_function_is_named(announced):
    done = aws(
        "lambda", "get-function", "--function-name", "absent",
        environment=endpoints(announced, "AWS_ENDPOINT_URL_LAMBDA"),
    )  # fmt: skip
    assert done.returncode != 0
    assert "Function not found: absent (here are: score_processing)" in done.stderr
