"""Starts a confined command, takes its output, and ends everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from plexus_scoring.engines.sandbox.base import SandboxLimits, SandboxResult
from plexus_scoring.engines.sandbox.cgroup import ControlGroup
from plexus_scoring.model.errors import EngineUnavailable

START_SECONDS = 60.0
STRAY_SECONDS = 1.0
TOOLS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": TOOLS_PATH, "LANG": "C.UTF-8"}
# Printed before the command begins: what comes first is said by the tools that set the sandbox up.
MARK = b"\1"
# The shell's own standard error goes nowhere: it would tell there which signal ended the command.
COMMAND = r"""printf '\001' >&2 || exit 125
exec 9>&2 2>/dev/null
(unset PWD OLDPWD SHLVL; exec "$@" 2>&9 9>&-)
exit $?"""
# Where nothing may be forked, the command is process 1 itself.
COMMAND_ALONE = r"""printf '\001' >&2 || exit 125; unset PWD OLDPWD SHLVL; exec "$@" """
ENTER_GROUP = 'until [ "$1" = -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'
_CHUNK = 65_536
_SAID = 2_000


class NotStarted(Exception):
    """The sandbox could not be set up; the message is what its tools said."""


class Running:
    """A command in its sandbox.

    Args:
        arguments: The tools that set the sandbox up, then the command.
        descriptors: Files for the tools; closed here.
        information: A pipe of which `bwrap` has the other end; it tells the sandbox's first process. None: there is
            none, and the command's process group is what can be killed.
        group: The control group that it runs in.
        alone: The command becomes the sandbox's first process.
        directory: Where it starts.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        descriptors: Sequence[int] = (),
        information: int | None = None,
        group: ControlGroup | None = None,
        alone: bool = False,
        directory: str = "/",
        environment: dict[str, str] | None = None,
    ) -> None:
        entered = ["sh", "-c", ENTER_GROUP, "sh", *group.process_files, "--"] if group else []
        self._group = group
        self._alone = alone
        self.grouped = group is not None
        self._information = information
        self._first: int | None = None
        self._first_descriptor: int | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603  the caller's tools
                [*entered, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment or ENVIRONMENT,
                pass_fds=descriptors,
                cwd=directory,
                start_new_session=True,
            )
        except BaseException:
            if information is not None:
                os.close(information)
            if group is not None:
                group.remove()
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._descriptor = os.pidfd_open(self._process.pid)
        self._cpu_seconds = 0.0
        self._start_cpu_seconds = 0.0
        self._peak_memory: int | None = None
        # Seen when the command begins; only one that waits for its input is sure to be there then.
        self.host_user: int | None = None
        self.in_group = False

    async def result(self, stdin: bytes, limits: SandboxLimits) -> SandboxResult:
        """Return how the command ended. When this returns or raises, nothing of the command is left.

        Raises:
            NotStarted: the tools could not set up the sandbox.
            EngineUnavailable: the sandbox was not set up in time.
        """
        timed_out = False
        output = _Output(limits.output_bytes, self._kill)
        try:
            async with asyncio.timeout(START_SECONDS):
                before = await self._started()
        except TimeoutError:
            await asyncio.shield(self._end())
            raise EngineUnavailable("the local sandbox did not start a command") from None
        except BaseException:
            await asyncio.shield(self._end())
            raise
        begun = time.monotonic()
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None  # noqa: S101  asked for above
        assert stderr is not None  # noqa: S101  asked for above
        tasks = [
            asyncio.create_task(output.take(0, stdout.fileno(), b"")),
            asyncio.create_task(output.take(1, stderr.fileno(), before)),
            asyncio.create_task(self._feed(stdin)),
        ]
        try:
            try:
                async with asyncio.timeout(limits.seconds):
                    await _ready(self._descriptor)
            except TimeoutError:
                timed_out = True
                self._kill()
                await _ready(self._descriptor)
            seconds = time.monotonic() - begun
        finally:
            await asyncio.shield(self._end(*tasks))
        code = self._process.returncode
        return SandboxResult(
            exit_code=None if timed_out or output.exceeded else (code if code >= 0 else 128 - code),
            stdout=output.text(0),
            stderr=output.text(1),
            seconds=seconds,
            cpu_seconds=max(0.0, self._cpu_seconds - self._start_cpu_seconds),
            peak_memory_bytes=self._peak_memory,
            timed_out=timed_out,
            output_exceeded=output.exceeded,
        )

    async def _started(self) -> bytes:
        """Wait until the command begins; return what it has already written to standard error."""
        if self._information is not None:
            told = b""
            while chunk := await _read(self._information):
                told += chunk
                with contextlib.suppress(ValueError):
                    self._know(json.loads(told)["child-pid"])
                    break
        assert self._process.stderr is not None  # noqa: S101  asked for above
        said = b""
        while MARK not in said:
            chunk = await _read(self._process.stderr.fileno())
            if not chunk:
                await _ready(self._descriptor)
                raise NotStarted(said[-_SAID:].decode("utf-8", "replace").strip())
            said += chunk
        first = self._first or self._process.pid
        self.in_group = self._group is not None and self._group.holds(first)
        self.host_user = _user(first)
        # The command is a child of these, so that what they have used by now is the start's.
        own = {self._process.pid, self._process.pid if self._alone else first}
        self._start_cpu_seconds = sum(map(_cpu_seconds, own))
        return said.partition(MARK)[2]

    def _know(self, first: int) -> None:
        self._first = first
        with contextlib.suppress(ProcessLookupError):
            self._first_descriptor = os.pidfd_open(first)

    def _kill(self) -> None:
        """Kill the first process of the sandbox, with which the kernel ends all others."""
        with contextlib.suppress(ProcessLookupError):
            if self._first_descriptor is not None:
                signal.pidfd_send_signal(self._first_descriptor, signal.SIGKILL)
            elif self._information is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                # Popen.kill would reap the process, and what it has used would be lost.
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        """Kill and reap everything, and let go of what was opened."""
        if self._information is not None and self._first is None:
            # bwrap dies without a trace of its child in the moment between the two: the child's number comes first.
            with contextlib.suppress(TimeoutError, NotStarted, EngineUnavailable):
                async with asyncio.timeout(START_SECONDS):
                    await self._started()
        self._kill()
        await _ready(self._descriptor)
        _, status, used = os.wait4(self._process.pid, 0)  # noqa: ASYNC222  it has ended
        self._cpu_seconds = used.ru_utime + used.ru_stime
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._first_descriptor is not None:
            await _ready(self._first_descriptor)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._group is not None:
            self._peak_memory = self._group.peak_memory()
            self._group.remove()
        if tasks:
            # A stray that an unconfined command left may hold the pipes open.
            _, waiting = await asyncio.wait(tasks, timeout=STRAY_SECONDS)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for descriptor in (self._descriptor, self._first_descriptor, self._information):
            if descriptor is not None:
                os.close(descriptor)
        for file in (self._process.stdin, self._process.stdout, self._process.stderr):
            if file is not None:
                file.close()

    async def _feed(self, stdin: bytes) -> None:
        file = self._process.stdin
        assert file is not None  # noqa: S101  asked for above
        os.set_blocking(file.fileno(), False)
        left = memoryview(stdin)
        with contextlib.suppress(BrokenPipeError):  # a command need not read what it is given
            while left:
                try:
                    left = left[os.write(file.fileno(), left) :]
                except BlockingIOError:
                    await _ready(file.fileno(), write=True)
        file.close()


class _Output:
    """What a command writes, up to a size each for standard output and standard error."""

    def __init__(self, most: int, exceed: Callable[[], None]) -> None:
        self._most = most
        self._exceed = exceed
        self._parts = (bytearray(), bytearray())
        self.exceeded = False

    async def take(self, which: int, descriptor: int, before: bytes) -> None:
        """Read until the end; call `exceed` when it is too much."""
        kept, chunk = self._parts[which], before
        while True:
            kept += chunk[: self._most + 1 - len(kept)]
            if len(kept) > self._most and not self.exceeded:
                self.exceeded = True
                self._exceed()
            chunk = await _read(descriptor)
            if not chunk:
                return

    def text(self, which: int) -> str:
        """Return one of the two."""
        return bytes(self._parts[which][: self._most]).decode("utf-8", "replace")


def _user(process: int) -> int | None:
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        return int(status.split("\nUid:")[1].split()[0])
    return None


def _cpu_seconds(process: int) -> float:
    """Return the processor time of one process without its children."""
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


async def _read(descriptor: int) -> bytes:
    await _ready(descriptor)
    return os.read(descriptor, _CHUNK)


async def _ready(descriptor: int, *, write: bool = False) -> None:
    """Wait until a descriptor can be read, or written to."""
    loop = asyncio.get_running_loop()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    )
    future: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not future.done():
            future.set_result(None)

    add(descriptor, tell)
    try:
        await future
    finally:
        remove(descriptor)
