"""One execution environment: a process of the real runtime client, and the Runtime API it talks to."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plexus_scoring.local.function import INIT_TIMEOUT, Invocation, InvokeResult, LocalFunction
from plexus_scoring.local.leash import kill_group, leash
from plexus_scoring.local.log_tail import LogSink, LogTail
from plexus_scoring.local.runtime_api import Answer, RuntimeApi
from plexus_scoring.model.errors import ConfigurationError

_UNHANDLED = "Unhandled"


class InitFailedError(Exception):
    """The process did not come to its first poll. `payload` is the error object of the invocation."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload.decode(errors="replace"))
        self.payload = payload


class ExecutionEnvironment:
    """A process that is started once and then invoked, one event after the other.

    Attributes:
        usable: False once the process has ended or must not be used again.
        init_duration: Seconds of the cold start; taken by the first result.
    """

    def __init__(self, function: LocalFunction, sink: LogSink | None = None) -> None:
        self._function = function
        self._api = RuntimeApi(function.arn)
        self._log = LogTail(sink)
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._broken = False
        self.init_duration: float | None = None

    @property
    def started(self) -> bool:
        """Whether `start` has been called."""
        return self._process is not None

    @property
    def usable(self) -> bool:
        """Whether another event may be given to it."""
        return not self._broken and self._exit is not None and not self._exit.done()

    async def start(self, request_id: str) -> None:
        """Start the process and wait for its first poll: the cold start.

        Args:
            request_id: The invocation that waits for it, named in errors.

        Raises:
            InitFailedError: the handler cannot be imported, the process ended, or it took too long.
            ConfigurationError: there is no such interpreter or directory.
        """
        started = time.monotonic()
        await self._api.__aenter__()
        stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}"
        process = await self._spawn(stream)
        self._process = process
        self._log.close_write_end()
        leash.hold(process.pid)
        self._exit = asyncio.create_task(process.wait())
        # On Lambda an init above 10 s is started again under the function's timeout; here it gets the longer one.
        limit = max(INIT_TIMEOUT, self._function.timeout)
        polled = asyncio.create_task(self._api.polled.wait())
        try:
            await _first_of(limit, polled, self._api.init_error, self._exit)
        finally:
            polled.cancel()
        self.init_duration = time.monotonic() - started
        if self._api.init_error.done():
            # The process ends by itself after it has posted; its last lines belong to this invocation.
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._exit), self._function.stop_grace)
            self._broken = True
            raise InitFailedError(self._api.init_error.result())
        if self._exit.done():
            raise InitFailedError(_exit_error(request_id, self._exit.result()))
        if not self._api.polled.is_set():
            self._broken = True
            raise InitFailedError(_timeout_error(request_id, limit))

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        """Give the event to the process and return what it answers; never raises for what it does.

        An environment that timed out or ended is not usable afterwards.
        """
        if self._exit is None:
            raise RuntimeError("the environment is not started")
        timeout = self._function.timeout
        if self.init_duration is None:
            self._log.reset()  # a first invocation keeps the lines of its cold start
        self._log.add(f"START RequestId: {invocation.request_id} Version: $LATEST")
        started = time.monotonic()
        posted = self._api.dispatch(invocation, timeout)
        await _first_of(timeout, posted, self._exit)
        duration = time.monotonic() - started
        if posted.done():
            answer = posted.result()
            await self._until_next_poll(timeout - duration)
        elif self._exit.done():
            answer = Answer(_exit_error(invocation.request_id, self._exit.result()), error=True)
        else:
            self._broken = True
            answer = Answer(_timeout_error(invocation.request_id, timeout), error=True)
        return self.result(invocation.request_id, answer, duration)

    def result(self, request_id: str, answer: Answer, duration: float = 0.0) -> InvokeResult:
        """Return the result of an invocation with the log up to now."""
        init, self.init_duration = self.init_duration, None
        self._log.drain()
        self._log.add(f"END RequestId: {request_id}")
        self._log.add(self._report(request_id, duration, init))
        return InvokeResult(
            request_id=request_id,
            payload=answer.payload,
            function_error=_UNHANDLED if answer.error else None,
            log_tail=self._log.drain(),
            duration=duration,
            init_duration=init,
        )

    async def stop(self) -> None:
        """End the process: SIGTERM and a grace where it is healthy, then SIGKILL for its whole group."""
        process, ended = self._process, self._exit
        if process is not None and ended is not None:
            if self.usable:
                kill_group(process.pid, signal.SIGTERM)
                await _first_of(self._function.stop_grace, ended)
            kill_group(process.pid)
            await ended
            leash.release(process.pid)
        else:  # the process could not be started
            self._log.close_write_end()
        await self._api.__aexit__(None, None, None)
        self._log.close()

    async def _spawn(self, log_stream: str) -> asyncio.subprocess.Process:
        function = self._function
        try:
            return await asyncio.create_subprocess_exec(
                *function.command,
                cwd=function.task_root,
                env=function.process_environment(self._api.address, log_stream),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._log.write_end,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must not end an invocation half way
            )
        except OSError as error:
            raise ConfigurationError(
                f"function {function.name} cannot be started in {function.task_root}: {error}"
            ) from error

    async def _until_next_poll(self, limit: float) -> None:
        """Wait until the process asks again, so that one that dies after its answer is not used again."""
        if self._exit is None or self._api.polled.is_set():
            return
        polled = asyncio.create_task(self._api.polled.wait())
        await _first_of(max(limit, 0.0), polled, self._exit)
        polled.cancel()
        if not self._api.polled.is_set():
            self._broken = True

    def _report(self, request_id: str, duration: float, init: float | None) -> str:
        milliseconds = duration * 1000
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {milliseconds:.2f} ms",
            f"Billed Duration: {int(milliseconds) + 1} ms",
            f"Memory Size: {self._function.memory_mb} MB",
        ]
        peak = _peak_memory_mb(self._process.pid) if self._process else None
        if peak is not None:
            fields.append(f"Max Memory Used: {peak} MB")
        if init is not None:
            fields.append(f"Init Duration: {init * 1000:.2f} ms")
        return "\t".join(fields)


async def _first_of(timeout: float, *waited: asyncio.Future[Any]) -> None:  # noqa: ASYNC109 - asyncio.wait does not raise
    """Wait until one of them is done, or the time is up; neither cancels the others."""
    await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _peak_memory_mb(pid: int) -> int | None:
    """Return the peak resident memory of a process, where /proc tells (Linux)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return None


def _timeout_error(request_id: str, seconds: float) -> bytes:
    message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    return json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": message}).encode()


def _exit_error(request_id: str, code: int) -> bytes:
    if code == 0:
        reason = "Runtime exited without providing a reason"
    elif code > 0:
        reason = f"Runtime exited with error: exit status {code}"
    else:
        name = signal.strsignal(-code) or str(-code)
        reason = f"Runtime exited with error: signal: {name.lower()}"
    message = f"RequestId: {request_id} Error: {reason}"
    return json.dumps({"errorType": "Runtime.ExitError", "errorMessage": message}).encode()
