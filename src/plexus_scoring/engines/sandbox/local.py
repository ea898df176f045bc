"""Runs commands on this machine, in a process that is kept from the service by what the kernel allows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from plexus_scoring.engines.sandbox.base import SandboxLimits, SandboxResult
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, InvalidRequest

LAUNCHER = pathlib.Path(__file__).with_name("launcher.py")
GRACE_SECONDS = 5.0
ALLOW_WEAK = "PLEXUS_SANDBOX_ALLOW_WEAK"
HOME = os.path.realpath(pathlib.Path.home())
_CHUNK = 65_536
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    weakref.WeakKeyDictionary()
)
_numbers = itertools.count(os.getpid())


class LocalSandbox:
    """Linux processes with resource limits, another user, and network, processes and files of their own.

    Another user needs root, the namespaces root or a kernel that grants them to users. Where there is neither, the
    command could read the service's memory and keys: it is not run unless `allow_weak`.

    Args:
        concurrency: Commands at the same time in a workspace; None: in the whole process one for each processor,
            so that measured times mean something.
        allow_weak: Run also where the service's own processes and files cannot be protected.
    """

    def __init__(self, *, concurrency: int | None = None, allow_weak: bool | None = None) -> None:
        self._concurrency = concurrency
        self._allow_weak = os.environ.get(ALLOW_WEAK) == "1" if allow_weak is None else allow_weak

    @contextlib.asynccontextmanager
    async def open(self, files: Mapping[str, bytes]) -> AsyncIterator[LocalWorkspace]:
        """Return a workspace with these files. See `Sandbox.open`."""
        if sys.platform != "linux":
            raise ConfigurationError(
                "the local sandbox needs Linux: use E2B (E2B_API_KEY) or run this in a container"
            )
        for path in files:
            check_path(path)
        turns = asyncio.Semaphore(self._concurrency) if self._concurrency else _shared_turns()
        yield LocalWorkspace(dict(files), turns, allow_weak=self._allow_weak)

    async def aclose(self) -> None:
        """Do nothing: every command cleans up after itself."""


def _shared_turns() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns[loop] = asyncio.Semaphore(os.cpu_count() or 1)
    return _turns[loop]


class LocalWorkspace:
    """Files that each command gets a fresh copy of."""

    def __init__(
        self, files: Mapping[str, bytes], turns: asyncio.Semaphore, *, allow_weak: bool
    ) -> None:
        self._files = files
        self._turns = turns
        self._allow_weak = allow_weak

    async def run(
        self,
        command: Sequence[str],
        *,
        stdin: str = "",
        limits: SandboxLimits | None = None,
    ) -> SandboxResult:
        """Run a command. See `Workspace.run`."""
        limits = limits or SandboxLimits()
        async with self._turns:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="plexus-sandbox-"))
            try:
                await asyncio.to_thread(_write_files, directory, self._files)
                config = {
                    "command": list(command),
                    "directory": str(directory),
                    "allow_weak": self._allow_weak,
                    "number": next(_numbers),
                    "python_bin": str(pathlib.Path(sys.base_prefix) / "bin"),
                    **msgspec.to_builtins(limits),
                    "cpu_seconds": limits.cpu_seconds or math.ceil(limits.seconds),
                }
                return await _launch(config, stdin, limits)
            finally:
                await asyncio.shield(
                    asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
                )


async def _launch(config: Mapping[str, Any], stdin: str, limits: SandboxLimits) -> SandboxResult:
    read_end, write_end = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(LAUNCHER),
            str(write_end),
            json.dumps(config),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"SANDBOX_HIDE_HOME": HOME},
            pass_fds=(write_end,),
            start_new_session=True,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    exceeded = False
    try:
        async with asyncio.timeout(limits.seconds + GRACE_SECONDS):
            with contextlib.suppress(TimeoutError):
                stdout, stderr, exceeded = await _communicate(process, stdin, limits.output_bytes)
            await process.wait()
    except TimeoutError:
        raise EngineUnavailable("the local sandbox did not end a command that was over") from None
    finally:
        # A cancelled call has no report, and must stay a cancelled call.
        await asyncio.shield(_end(process))
        written = _drained(read_end)
    report = _report(written)
    if "refused" in report:
        raise ConfigurationError(
            "this process can keep submitted code neither from its memory nor from its files: run it as root, "
            f"allow user namespaces, use E2B, or set {ALLOW_WEAK}=1 to run it all the same"
        )
    return SandboxResult(
        exit_code=None if exceeded else report["exit_code"],
        stdout=_text(stdout, limits.output_bytes),
        stderr=_text(stderr, limits.output_bytes),
        seconds=report["seconds"],
        cpu_seconds=report["cpu_seconds"],
        peak_memory_bytes=report["peak_memory_bytes"],
        timed_out=report["timed_out"],
        output_exceeded=exceeded,
        isolation=tuple(report["isolation"]),
    )


async def _communicate(
    process: asyncio.subprocess.Process, stdin: str, most: int
) -> tuple[bytes, bytes, bool]:
    """Feed the command and take its output, ending it once it has written too much."""
    feed = asyncio.create_task(_feed(process, stdin))
    outputs = (bytearray(), bytearray())
    exceeded = False

    async def take(stream: asyncio.StreamReader | None, output: bytearray) -> None:
        nonlocal exceeded
        while stream is not None and (chunk := await stream.read(_CHUNK)):
            if len(output) <= most:
                output += chunk[: most + 1 - len(output)]
            if len(output) > most and not exceeded:
                exceeded = True
                _signal(process, signal.SIGTERM)

    try:
        await asyncio.gather(take(process.stdout, outputs[0]), take(process.stderr, outputs[1]))
    finally:
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
    return bytes(outputs[0]), bytes(outputs[1]), exceeded


async def _feed(process: asyncio.subprocess.Process, stdin: str) -> None:
    assert process.stdin is not None  # noqa: S101  asked for above
    with contextlib.suppress(ConnectionError):  # a command need not read what it is given
        process.stdin.write(stdin.encode("utf-8", "surrogatepass"))
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that nothing of it is left: ask the launcher to end it, then end the launcher."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()
            return
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _drained(read_end: int) -> bytes:
    """Return what the launcher wrote, and close the pipe."""
    with open(read_end, "rb") as file:
        os.set_blocking(read_end, False)
        return file.read() or b""


def _report(written: bytes) -> dict[str, Any]:
    if not written:
        raise EngineUnavailable("the local sandbox's launcher died without a report")
    report: dict[str, Any] = json.loads(written)
    return report


def _write_files(directory: pathlib.Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _text(output: bytes, most: int) -> str:
    return output[:most].decode("utf-8", "replace")


def check_path(path: str) -> None:
    """Check that a file stays in its workspace.

    Raises:
        InvalidRequest: it is empty, absolute, or climbs out.
    """
    parts = pathlib.PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidRequest(f"the sandbox cannot hold a file named {path!r}: give a relative path")
