"""``lambda serve`` and ``lambda invoke``, as the command line calls them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from plexus_scoring.local.lambda_cli import invoke, serve
from plexus_scoring.model.errors import ConfigurationError, NotFound
from tests.support.aws import require_embedded_aws

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

HANDLER = '''
import os
import sys


def handler(event, context):
    """Return the event and one variable; fail on request."""
    print("working")
    if event.get("fail"):
        raise ValueError("as asked")
    return {"event": event, "given": os.environ.get("GIVEN")}
'''


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lambda_functions" / "echo_back"
    folder.mkdir(parents=True)
    # A package, as the shipped folder is: one without __init__.py would yield to the shipped one.
    (folder.parent / "__init__.py").touch()
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    (tmp_path / "lambda_functions" / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["echo_back", "echo-back"])
def test_invoke_runs_once_with_the_callers_environment(root, monkeypatch, name):
    monkeypatch.setenv("GIVEN", "by the shell")
    result = invoke(name, b'{"a": 1}', root=root)
    assert json.loads(result.payload) == {"event": {"a": 1}, "given": "by the shell"}
    assert result.function_error is None
    assert "working\n" in result.log_tail.decode()


def test_invoke_gives_the_error_and_the_log(root):
    result = invoke("echo_back", b'{"fail": true}', root=root, environment={})
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload)["errorMessage"] == "as asked"
    assert "[ERROR] ValueError: as asked" in result.log_tail.decode()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"no function 'absent' in .*lambda_functions \(there are: echo_back\)"),
        ("empty", "function 'empty' has no handler.py"),
        ("../echo_back", "no function"),
        ("", "no function"),
    ],
)
def test_a_missing_function_is_one_clear_line(root, name, message):
    for call in (lambda: invoke(name, b"{}", root=root), lambda: serve(name, 0, root=root)):
        with pytest.raises(NotFound, match=message) as raised:
            call()
        assert "\n" not in raised.value.message


def test_a_taken_port_is_one_clear_line(root):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port}"):
            serve("echo_back", port, root=root)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_until_it_is_interrupted(root, stop):
    script = f"""
from pathlib import Path
from plexus_scoring.local.lambda_cli import serve
serve("echo_back", 0, root=Path({str(root)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    with process:
        announced = process.stderr.readline().split()
        address, path = announced[2].removeprefix("http://").split("/", 1)
        connection = http.client.HTTPConnection(address)
        connection.request("POST", f"/{path}", b'{"n": 1}')
        assert json.loads(connection.getresponse().read())["event"] == {"n": 1}
        connection.close()
        process.send_signal(stop)
        _, log = process.communicate()
    assert process.returncode == 0
    assert "working\n" in log
    assert "Traceback" not in log


def test_beside_an_embedded_aws_other_commands_join_in(tmp_path):
    require_embedded_aws()
    command = [sys.executable, "-c", "from plexus_scoring.cli import main; main()"]
    serving = [*command, "lambda", "serve", "--function", "score_processing", "--port", "0"]
    given = os.environ | {"PLEXUS_CATALOG_DIR": str(EXAMPLES), "PLEXUS_STORE": "memory"}
    process = subprocess.Popen(
        [*serving, "--embedded", "--env-file", tmp_path / "env", "--format", "json"],
        stdout=subprocess.PIPE,
        text=True,
        env=given,
    )
    with process:
        lines = iter(process.stdout.readline, "}\n")
        announced = json.loads("".join([*lines, "}"]))
        address, path = announced["url"].removeprefix("http://").split("/", 1)
        connection = http.client.HTTPConnection(address)
        body = {"request_id": "first", "scorecard": "call-centre-quality", "score": "Greeting"}
        body["item"] = {"id": "call-billing-dispute"}
        connection.request("POST", f"/{path}", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        listed = subprocess.run(
            [*command, "jobs", "list", "--status", "completed", "--format", "json"],
            env=os.environ | announced["environment"],
            capture_output=True,
            check=True,
        )
        process.send_signal(signal.SIGINT)
    (row,) = answer["results"]
    assert (row["id"], row["disposition"]) == ("first", "Ack")
    assert [response["value"] for response in row["responses"]] == ["Yes"]
    assert f"export AWS_ENDPOINT_URL_LAMBDA=http://{address}\n" in (tmp_path / "env").read_text()
    assert [job["id"] for job in json.loads(listed.stdout)["jobs"]] == ["first"]
    assert process.returncode == 0
