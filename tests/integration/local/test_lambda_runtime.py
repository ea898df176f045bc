"""The local runtime drives the real awslambdaric: every ending of an invocation, as Lambda has it."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from plexus_scoring.local import environment
from plexus_scoring.local.function import (
    LOG_TAIL_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_SYNC_PAYLOAD_BYTES,
    InvocationRefused,
)
from plexus_scoring.local.lambda_runtime import LambdaRuntime
from plexus_scoring.model.errors import ConfigurationError


def event(do=None, **values):
    return json.dumps({"do": do} | values).encode()


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until_gone(pid):
    """Wait for the end of a process that is not our child;"""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def test_a_handler_sees_what_lambda_shows_it(make_function, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "must not leak")
    function = make_function(
        "probe.describe",
        name="score-it",
        memory_mb=512,
        environment={"MINE": "1", "AWS_LAMBDA_FUNCTION_NAME": "reserved names win"},
    )
    async with LambdaRuntime(function) as runtime:
        result = await runtime.invoke(
            '{"text": "Ünïcode \\u0000"}'.encode(), client_context='{"custom": {"a": "b"}}'
        )
    seen = json.loads(result.payload)
    variables = seen.pop("environment")
    assert result.function_error is None
    assert seen["event"] == {"text": "Ünïcode \0"}
    assert seen["request_id"] == result.request_id
    assert seen["function_name"] == "score-it"
    assert seen["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:score-it"
    assert seen["memory"] == "512"
    assert 0 < seen["remaining_ms"] <= function.timeout * 1_000
    assert seen["client_context"] == {"a": "b"}
    assert seen["cwd"] == variables["LAMBDA_TASK_ROOT"] == str(function.task_root)
    assert variables["_HANDLER"] == "probe.describe"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "score-it"
    assert variables["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert variables["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/score-it"
    assert re.fullmatch(
        r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", variables["AWS_LAMBDA_LOG_STREAM_NAME"]
    )
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python3.")
    assert variables["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert variables["MINE"] == "1"
    assert "SECRET_OF_THE_CALLER" not in variables


async def test_a_process_is_started_once_and_kept_warm(make_function):
    async with LambdaRuntime(make_function("probe.describe")) as runtime:
        first = await runtime.invoke(b"{}")
        second = await runtime.invoke(b"{}")
        assert runtime.cold_starts == 1
    assert [json.loads(result.payload)["calls"] for result in (first, second)] == [1, 2]
    assert first.init_duration is not None
    assert second.init_duration is None
    assert not is_alive(json.loads(second.payload)["pid"])


async def test_the_log_tail_is_the_invocations_own(make_function, log):
    async with LambdaRuntime(make_function("probe.describe"), log) as runtime:
        first = (await runtime.invoke(b"{}")).log_tail.decode()
        result = await runtime.invoke(b"{}")
    second = result.log_tail.decode()
    assert first.startswith("cold start of the probe\nSTART RequestId: ")
    assert "Init Duration: " in first
    lines = second.splitlines()
    assert lines[:4] == [
        f"START RequestId: {result.request_id} Version: $LATEST",
        "call 2",
        "to stderr",
        f"END RequestId: {result.request_id}",
    ]
    assert lines[4].startswith(f"REPORT RequestId: {result.request_id}\tDuration: ")
    assert log.text == first + second


async def test_the_log_tail_keeps_the_last_4_kb(runtime, log):
    result = await runtime.invoke(event("write", size=200_000))
    assert len(result.log_tail) == LOG_TAIL_BYTES
    assert b"\tMemory Size: " in result.log_tail
    assert log.text.count("y") >= 200_000


async def test_an_exception_is_an_unhandled_error_and_the_process_goes_on(runtime):
    failed = await runtime.invoke(event("raise", message="no such score"))
    error = json.loads(failed.payload)
    assert failed.function_error == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such score")
    assert error["requestId"] == failed.request_id
    assert b"[ERROR] ValueError: no such score" in failed.log_tail
    assert (await runtime.invoke(event())).function_error is None
    assert runtime.cold_starts == 1


async def test_a_timeout_kills_the_process_and_the_next_event_gets_a_new_one(
    make_function, log, time_up
):
    async with LambdaRuntime(make_function(timeout=100.0), log) as runtime:
        before = json.loads((await runtime.invoke(event())).payload)["pid"]
        hanging = asyncio.create_task(runtime.invoke(event("hang")))
        await log.wait_for("about to hang\n")
        time_up.set()
        result = await hanging
        time_up.clear()
        assert not is_alive(before)
        after = json.loads((await runtime.invoke(event())).payload)["pid"]
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {result.request_id} Error: Task timed out after 100.00 seconds",
    }
    assert b"about to hang\n" in result.log_tail
    assert after != before
    assert runtime.cold_starts == 2


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (event("exit", code=4), "Runtime exited with error: exit status 4"),
        (event("exit", code=0), "Runtime exited without providing a reason"),
        (event("kill"), "Runtime exited with error: signal: killed"),
    ],
)
async def test_a_process_that_ends_is_an_exit_error(runtime, ending, reason):
    result = await runtime.invoke(ending)
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {result.request_id} Error: {reason}",
    }
    assert (await runtime.invoke(event())).function_error is None


async def test_the_last_words_of_a_process_are_in_its_tail(runtime):
    assert b"last words\n" in (await runtime.invoke(event("exit", code=1))).log_tail


async def test_a_process_that_died_while_idle_is_replaced(runtime):
    pid = json.loads((await runtime.invoke(event())).payload)["pid"]
    (idle,) = runtime._idle
    os.kill(pid, signal.SIGKILL)
    await idle._exit
    assert (await runtime.invoke(event())).function_error is None
    assert runtime.cold_starts == 2


@pytest.mark.parametrize(
    ("handler", "error_type", "part"),
    [
        ("broken_import.handler", "Runtime.ImportModuleError", "no_such_package_anywhere"),
        ("absent.handler", "Runtime.ImportModuleError", "Unable to import module 'absent'"),
        ("probe.absent", "Runtime.HandlerNotFound", "Handler 'absent' missing on module 'probe'"),
        ("nodots", "Runtime.MalformedHandlerName", "Bad handler 'nodots'"),
        ("exits_at_import.handler", "Runtime.ExitError", "exit status 3"),
    ],
)
async def test_an_init_error_answers_the_invocation(make_function, handler, error_type, part):
    async with LambdaRuntime(make_function(handler)) as runtime:
        for _ in range(2):  # each invocation starts a new one
            result = await runtime.invoke(b"{}")
            error = json.loads(result.payload)
            assert result.function_error == "Unhandled"
            assert error["errorType"] == error_type
            assert part in error["errorMessage"]
        assert runtime.cold_starts == 2


async def test_an_init_that_takes_too_long_is_a_timeout(make_function, monkeypatch):
    monkeypatch.setattr(environment, "INIT_TIMEOUT", 0.3)
    async with LambdaRuntime(
        make_function("hangs_at_import.handler", timeout=0.5)  # clock: never in time
    ) as runtime:
        result = await runtime.invoke(b"{}")
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
    assert "timed out after 0.50 seconds" in json.loads(result.payload)["errorMessage"]


async def test_a_missing_interpreter_is_a_configuration_error(make_function):
    async with LambdaRuntime(make_function(python="/no/such/python")) as runtime:
        with pytest.raises(ConfigurationError, match="/no/such/python"):
            await runtime.invoke(b"{}")


async def test_payload_limits(runtime):
    room = MAX_SYNC_PAYLOAD_BYTES - len(event(None, text=""))
    assert (await runtime.invoke(event(None, text="x" * room))).function_error is None
    with pytest.raises(InvocationRefused) as refused:
        await runtime.invoke(event(None, text="x" * (room + 1)))
    assert (refused.value.status, refused.value.error_type) == (413, "RequestTooLargeException")
    fits = await runtime.invoke(event("large", size=MAX_RESPONSE_BYTES - 2))
    assert len(fits.payload) == MAX_RESPONSE_BYTES
    result = await runtime.invoke(event("large", size=MAX_RESPONSE_BYTES))
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload)["errorType"] == "Function.ResponseSizeTooLarge"
    assert (await runtime.invoke(event())).function_error is None


async def test_what_is_not_json_is_refused_before_a_process_starts(runtime):
    with pytest.raises(InvocationRefused) as refused:
        await runtime.invoke(b"{not json")
    assert refused.value.status == 400
    assert runtime.cold_starts == 0


async def test_concurrent_events_get_a_process_each_up_to_the_bound(make_function, log, tmp_path):
    gate = tmp_path / "open"
    async with LambdaRuntime(make_function(max_concurrency=2, max_waiting=1), log) as runtime:
        running = [
            asyncio.create_task(runtime.invoke(event("wait_for", path=str(gate)))) for _ in range(2)
        ]
        await log.wait_for("waiting\n", times=2)
        queued = asyncio.create_task(runtime.invoke(event()))
        await asyncio.sleep(0)
        with pytest.raises(InvocationRefused) as refused:
            await runtime.invoke(event())
        assert (refused.value.status, refused.value.error_type) == (429, "TooManyRequestsException")
        assert not queued.done()
        gate.touch()
        results = await asyncio.gather(*running, queued)
        assert runtime.cold_starts == 2
    pids = [json.loads(result.payload)["pid"] for result in results]
    assert pids[0] != pids[1]
    assert pids[2] in pids[:2]


async def test_many_events_over_few_processes_each_get_their_own_answer(make_function):
    async with LambdaRuntime(make_function("probe.describe", max_concurrency=3)) as runtime:
        results = await asyncio.gather(
            *(runtime.invoke(json.dumps({"n": n}).encode()) for n in range(120))
        )
        assert runtime.cold_starts == 3
    assert [json.loads(result.payload)["event"]["n"] for result in results] == list(range(120))
    for result in results:
        assert json.loads(result.payload)["request_id"] == result.request_id
        assert result.log_tail.decode().count("START RequestId") == 1


async def test_closing_kills_what_the_handler_left_behind(runtime):
    child = json.loads((await runtime.invoke(event("child"))).payload)["child"]
    assert is_alive(child)
    await runtime.__aexit__(None, None, None)
    await until_gone(child)


async def test_closing_asks_a_busy_process_to_end_and_then_kills_it(runtime, log, time_up):
    runtime.invoke_later(event("trap"))
    await log.wait_for("trapped\n")
    closing = asyncio.create_task(runtime.__aexit__(None, None, None))
    await log.wait_for("asked to end\n")
    assert not closing.done()
    time_up.set()
    await closing


async def test_a_killed_parent_leaves_no_process(make_function):
    script = """
import asyncio, sys
from pathlib import Path
from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.lambda_runtime import LambdaRuntime
async def main():
    function = LocalFunction(name="p", handler="probe.act", task_root=Path(sys.argv[1]), timeout=60)
    async with LambdaRuntime(function, lambda chunk: None) as runtime:
        print((await runtime.invoke(b'{"do": "child"}')).payload.decode(), flush=True)
        await runtime.invoke(b'{"do": "hang"}')
asyncio.run(main())
"""
    root = make_function().task_root
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(root), stdout=asyncio.subprocess.PIPE
    )
    child = json.loads(await parent.stdout.readline())["child"]
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until_gone(child)
