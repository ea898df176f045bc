"""The emulator's address over real HTTP: what curl, boto3 and a careless web page get."""

import asyncio
import base64
import http.client
import json
import socket

import boto3
import pytest
from botocore.config import Config

from plexus_scoring.local.background import LocalLambda
from plexus_scoring.local.function import MAX_ASYNC_PAYLOAD_BYTES, MAX_SYNC_PAYLOAD_BYTES
from plexus_scoring.local.invoke_api import InvokeApi

PATH = "/2015-03-31/functions/function/invocations"


@pytest.fixture
def served(make_function, tmp_path):
    with LocalLambda([make_function("probe.act")], tmp_path) as running:
        yield running


@pytest.fixture
def post(served):
    host, port = served.endpoint_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))

    def send(body=b"{}", path=PATH, method="POST", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    yield send
    connection.close()


def test_one_connection_takes_many_events(post, served):
    for _ in range(3):
        status, headers, body = post()
        assert status == 200
        assert "pid" in json.loads(body)
        assert headers["X-Amz-Executed-Version"] == "$LATEST"
        assert "X-Amz-Function-Error" not in headers
        assert "X-Amz-Log-Result" not in headers
    assert served.cold_starts("probe") == 1


def test_an_error_and_the_log_tail_are_in_the_headers(post):
    status, headers, body = post(b'{"do": "raise", "message": "m"}', X_Amz_Log_Type="Tail")
    assert status == 200
    assert headers["X-Amz-Function-Error"] == "Unhandled"
    assert json.loads(body)["errorType"] == "ValueError"
    tail = base64.b64decode(headers["X-Amz-Log-Result"]).decode()
    assert f"START RequestId: {headers['x-amzn-RequestId']} Version: $LATEST\n" in tail


def test_an_empty_body_is_an_empty_event(post):
    assert post(b"")[0] == 200


def test_event_is_answered_at_once_and_dry_run_runs_nothing(post, served, tmp_path):
    assert post(X_Amz_Invocation_Type="DryRun")[::2] == (204, b"")
    assert served.cold_starts("probe") == 0
    gate = tmp_path / "gate"
    waits = json.dumps({"do": "wait_for", "path": str(gate)}).encode()
    status, headers, body = post(waits, X_Amz_Invocation_Type="Event")
    assert (status, body) == (202, b"")
    gate.touch()
    served.invoke("probe", b"{}")
    assert headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("request_line", "status", "error_type"),
    [
        ({"body": b"{"}, 400, "InvalidRequestContentException"),
        ({"body": b"\xff"}, 400, "InvalidRequestContentException"),
        ({"X_Amz_Invocation_Type": "Sometime"}, 400, "InvalidParameterValueException"),
        ({"X_Amz_Client_Context": "%%"}, 400, "InvalidRequestContentException"),
        ({"path": PATH.replace("/function/", "/other/")}, 404, "ResourceNotFoundException"),
        ({"path": "/"}, 404, "ResourceNotFoundException"),
        ({"method": "GET"}, 405, "InvalidRequestContentException"),
        ({"Origin": "https://example.org"}, 403, "AccessDeniedException"),
        ({"body": b"1" * (MAX_SYNC_PAYLOAD_BYTES + 1)}, 413, "RequestTooLargeException"),
        (
            {"body": b"1" * (MAX_ASYNC_PAYLOAD_BYTES + 1), "X_Amz_Invocation_Type": "Event"},
            413,
            "RequestTooLargeException",
        ),
    ],
)
def test_refusals_carry_lambdas_status_and_name(post, served, request_line, status, error_type):
    answered, headers, body = post(**request_line)
    assert (answered, headers["x-amzn-ErrorType"]) == (status, error_type)
    assert json.loads(body)["message"]
    assert served.cold_starts("probe") == 0


def test_boto3_invokes_by_name_and_by_arn(served, make_function):
    client = boto3.client(
        "lambda",
        endpoint_url=served.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(proxies={}),
    )
    for name in ("probe", make_function().arn):
        answer = client.invoke(
            FunctionName=name, LogType="Tail", Payload=b'{"do": "write", "size": 3}'
        )
        assert answer["StatusCode"] == 200
        assert b"yyy\n" in base64.b64decode(answer["LogResult"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="absent")
    client.close()


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 413"),
        (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n".encode(),
            b"HTTP/1.1 200",
        ),
        (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 2\r\n\r\n".encode(),
            b"HTTP/1.1 100",
        ),
    ],
)
def test_http_at_its_edges(served, sent, answered):
    host, port = served.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(sent)
        assert connection.recv(4096).startswith(answered)


def test_only_loopback_is_listened_on(served):
    assert served.endpoint_url.startswith("http://127.0.0.1:")


async def test_a_client_that_hangs_up_does_not_stop_the_function(runtime, log, tmp_path):
    gate = tmp_path / "gate"
    body = json.dumps({"do": "wait_for", "path": str(gate)})
    async with InvokeApi([runtime]) as api:
        host, port = api.endpoint_url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await log.wait_for("waiting\n")
        writer.close()
        await writer.wait_closed()
        gate.touch()
        await log.wait_for("END RequestId")
