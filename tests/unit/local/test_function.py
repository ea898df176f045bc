import json
from pathlib import Path

import pytest

from plexus_scoring.local import environment, lambda_runtime
from plexus_scoring.local.event_source import visibility_for
from plexus_scoring.local.function import (
    MAX_SYNC_PAYLOAD_BYTES,
    InvocationRefused,
    LocalFunction,
)
from plexus_scoring.model.errors import ConfigurationError


def function(**settings):
    return LocalFunction(**{"name": "f", "handler": "m.h", "task_root": Path("/task")} | settings)


def test_what_lambda_reserves_wins_over_the_functions_own_variables():
    variables = function(
        environment={"_HANDLER": "other", "AWS_REGION": "eu-west-1", "MINE": "1"}
    ).process_environment("127.0.0.1:1", "stream")
    assert variables["_HANDLER"] == "m.h"
    assert variables["AWS_REGION"] == "eu-west-1"
    assert variables["MINE"] == "1"
    assert variables["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:1"
    assert variables["AWS_LAMBDA_LOG_STREAM_NAME"] == "stream"


def test_the_callers_environment_stays_with_the_caller(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    variables = function().process_environment("a", "s")
    assert "AWS_PROFILE" not in variables
    assert "OPENAI_API_KEY" not in variables


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": 900.1},
        {"max_concurrency": 0},
        {"max_waiting": -1},
    ],
)
def test_values_out_of_lambdas_bounds_are_refused(settings):
    with pytest.raises(ConfigurationError, match="function f: "):
        function(**settings)


@pytest.mark.parametrize(
    ("timeout", "visibility"), [(60.0, 360), (0.1, 1), (1.5, 9), (900.0, 5_400), (9_000.0, 43_200)]
)
def test_visibility_is_six_times_the_timeout_within_sqss_bounds(timeout, visibility):
    assert visibility_for(timeout) == visibility


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "Runtime exited without providing a reason"),
        (2, "Runtime exited with error: exit status 2"),
        (-9, "Runtime exited with error: signal: killed"),
        (-11, "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_exit_errors_name_the_way_out(code, reason):
    error = json.loads(environment._exit_error("id", code))
    assert error == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: id Error: {reason}",
    }


@pytest.mark.parametrize(
    ("payload", "status"),
    [(b"{", 400), (b"\xff\xff", 400), (b"x" * (MAX_SYNC_PAYLOAD_BYTES + 1), 413)],
)
def test_payloads_that_lambda_refuses(payload, status):
    with pytest.raises(InvocationRefused) as refused:
        lambda_runtime._invocation(payload, None, None, None)
    assert refused.value.status == status


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'"\\ud800"', b"null", b'"\\u0000"'])
def test_payloads_that_are_the_functions_own_affair(payload):
    assert lambda_runtime._invocation(payload, None, None, None).payload == payload


def test_ids_are_made_where_the_caller_gives_none():
    one, two = (lambda_runtime._invocation(b"", None, None, None) for _ in range(2))
    assert one.payload == b"{}"
    assert one.request_id != two.request_id
    assert one.trace_id != two.trace_id
    given = lambda_runtime._invocation(b"1", "{}", "Root=1-a", "id")
    assert (given.client_context, given.trace_id, given.request_id) == ("{}", "Root=1-a", "id")
