"""One host process: messages to it, its answers and logs to the jobs that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import json
import logging
import shutil
import signal
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from plexus_scoring.engines.plexus.isolation import HostSpec, hide_environment
from plexus_scoring.model import typed
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, shorten
from plexus_scoring.telemetry.logs import keep_line

log = logging.getLogger(__name__)

START_SECONDS = 60.0
GRACE_SECONDS = 2.0
_LENGTH = struct.Struct(">I")
_MOST_BYTES = 256 << 20
_STDERR_CHARACTERS = 2_000
_Lines = list[tuple[float, int, str, str]]


class Hello(msgspec.Struct, frozen=True):
    """Which packages a host found. `unrelated` is a package of the name that is another project."""

    python: str
    plexus: str | None = None
    tactus: str | None = None
    unrelated: str | None = None


@dataclass
class _Job:
    answer: asyncio.Future[dict[str, Any]]
    context: contextvars.Context


class HostProcess:
    """A running host. Made by `start`."""

    def __init__(self, spec: HostSpec, process: asyncio.subprocess.Process, directory: str) -> None:
        self.spec = spec
        self.hello = Hello(python="")
        self.isolated = False
        self.sent: set[str] = set()
        self.loads: dict[str, asyncio.Task[None]] = {}
        self._process = process
        self._directory = directory
        self._numbers = itertools.count(1)
        self._jobs: dict[int, _Job] = {}
        self._stderr = ""
        self._why: str | None = None
        self._tasks = [asyncio.create_task(self._read_errors(), name=f"{spec.name}: stderr")]

    @classmethod
    async def start(cls, spec: HostSpec) -> HostProcess:
        """Start a process and wait for its first message.

        Raises:
            ConfigurationError: it cannot be started, or not with the isolation that is asked for.
        """
        isolated = spec.isolated_command() if spec.isolation != "none" else None
        if isolated is not None:
            with contextlib.suppress(_CannotIsolate):
                host = await cls._start(spec, isolated)
                host.isolated = True
                return host
        if spec.isolation == "bubblewrap":
            raise ConfigurationError(
                "PLEXUS_HOST_ISOLATION=bubblewrap: bubblewrap is not installed, or namespaces are not allowed here:"
                " install it and allow user namespaces, or set PLEXUS_HOST_ISOLATION=auto"
            )
        hide_environment()
        return await cls._start(spec, spec.command())

    @classmethod
    async def _start(cls, spec: HostSpec, command: list[str]) -> HostProcess:
        directory = tempfile.mkdtemp(prefix="plexus-host-")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": spec.variables["PATH"]},
                cwd=directory,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise ConfigurationError(
                f"the {spec.name} cannot be started: {error}; check PLEXUS_PYTHON"
            ) from error
        host = cls(spec, process, directory)
        host._send({"environ": dict(spec.variables)})
        try:
            async with asyncio.timeout(START_SECONDS):
                first = await host._message()
            host.hello = typed.convert(first["hello"], Hello)
        except BaseException as error:
            await host.kill("it did not start")
            await asyncio.wait(host._tasks, timeout=GRACE_SECONDS)  # what it said last
            if not isinstance(error, asyncio.IncompleteReadError | TimeoutError):
                raise
            if host._stderr.startswith("bwrap:"):
                raise _CannotIsolate from None
            said = shorten(host._stderr, 300) or f"exit status {process.returncode}"
            raise ConfigurationError(
                f"the {spec.name} did not start with {spec.python}: {said}; check PLEXUS_PYTHON"
            ) from None
        host._tasks.append(asyncio.create_task(host._read(), name=f"{spec.name}: answers"))
        return host

    @property
    def alive(self) -> bool:
        """Whether it takes jobs."""
        return self._process.returncode is None and self._why is None

    @property
    def pid(self) -> int:
        """The process's id (bubblewrap's, where there is one)."""
        return self._process.pid

    @property
    def busy(self) -> int:
        """How many jobs are in it."""
        return len(self._jobs)

    async def ask(self, message: Mapping[str, Any], *, within: float | None) -> dict[str, Any]:
        """Send a message and return its answer, within so many seconds.

        However it ends, the work has ended: what does not stop when it is cancelled is ended with its process.

        Raises:
            TimeoutError: there was no answer in time.
            EngineUnavailable: the process ended.
        """
        if not self.alive:
            raise self._lost()
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._jobs[number] = _Job(answer, contextvars.copy_context())
        try:
            self._send({"id": number, **message})
            await asyncio.wait((answer,), timeout=within)
            if answer.done():
                return answer.result()
            await self._stop(number, answer)
            raise TimeoutError
        except asyncio.CancelledError:
            await self._stop(number, answer)
            raise
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # looked at, also where the caller has gone
            del self._jobs[number]

    async def kill(self, why: str) -> None:
        """End the process at once, and with it every job in it."""
        self._why = self._why or why
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._forget()

    async def aclose(self) -> None:
        """End the process: the end of its stdin is its word to go. Safe to call twice."""
        self._why = self._why or "it was closed"
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._process.wait()
        await self.kill("it was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop(self, number: int, answer: asyncio.Future[dict[str, Any]]) -> None:
        if not self.alive:
            return
        self._send({"id": number, "op": "cancel"})
        await asyncio.wait((answer,), timeout=GRACE_SECONDS)
        if not answer.done():
            log.warning(
                "%s %d: a score did not stop: the process is ended", self.spec.name, self.pid
            )
            await self.kill("a score in it did not stop at its deadline")

    def _send(self, message: Mapping[str, Any]) -> None:
        # Not msgspec's JSON: texts with half a surrogate pair and a scorecard's infinity must arrive as they are.
        body = json.dumps(message).encode()
        assert self._process.stdin is not None  # noqa: S101  asked for when it was started
        self._process.stdin.write(_LENGTH.pack(len(body)) + body)

    async def _message(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  as above
        (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
        if length > _MOST_BYTES:
            raise ValueError("a message of a host is too long")
        message: dict[str, Any] = json.loads(await self._process.stdout.readexactly(length))
        return message

    async def _read(self) -> None:
        """Hand out answers and log lines until the process ends."""
        try:
            while True:
                message = await self._message()
                job = self._jobs.get(message["id"])
                if job is None:
                    continue
                if "log" in message:
                    job.context.run(self._log, message["log"])
                elif not job.answer.done():
                    job.answer.set_result(message)
        except asyncio.IncompleteReadError:
            pass
        except (ValueError, KeyError, TypeError, RecursionError):  # no host of ours speaks so
            log.exception("%s %d: its messages cannot be read", self.spec.name, self.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._forget()

    def _log(self, lines: Any) -> None:
        """Write a job's lines: all into its own log, warnings into the process's lines as well, if they may be."""
        with contextlib.suppress(msgspec.ValidationError):
            for created, level, name, text in typed.convert(lines, _Lines):
                record = logging.LogRecord(name, level, self.spec.program, 0, "%s", (text,), None)
                record.created = created
                if level >= logging.WARNING and self.spec.warns:
                    logging.getLogger(name).handle(record)
                else:
                    keep_line(record)

    async def _read_errors(self) -> None:
        """Keep what it says before its first message; later it may quote items."""
        assert self._process.stderr is not None  # noqa: S101  asked for when it was started
        while data := await self._process.stderr.read(4_096):
            if not self.hello.python and len(self._stderr) < _STDERR_CHARACTERS:
                self._stderr += data.decode("utf-8", "replace")

    def _forget(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        for job in self._jobs.values():
            if not job.answer.done():
                job.answer.set_exception(self._lost())

    def _lost(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"the {self.spec.name} ended in the middle of a score: {self._why or self._how()}; a new one is started for"
            " the next attempt"
        )

    def _how(self) -> str:
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
        return f"signal {-status}"


class _CannotIsolate(Exception):
    """Bubblewrap says that it cannot work here."""
