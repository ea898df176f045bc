"""Runs commands on this machine, in a root of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import pathlib
import sys
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from plexus_scoring.engines.sandbox.base import SandboxLimits, SandboxResult
from plexus_scoring.engines.sandbox.bubblewrap import start
from plexus_scoring.engines.sandbox.confinement import ALLOW_WEAK, Confinement, confinement
from plexus_scoring.engines.sandbox.process import NotStarted
from plexus_scoring.engines.sandbox.weak import run_weakly
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, InvalidRequest

log = logging.getLogger(__name__)

MOST_FILES = 256
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    weakref.WeakKeyDictionary()
)


class LocalSandbox:
    """bubblewrap's sandbox: no network, no files but the system's, limits on everything, a filter of system calls.

    A probe looks once in a process whether each of these holds. If one does not hold, nothing is run unless
    `allow_weak`.

    Args:
        concurrency: Commands at the same time in a workspace; None: in the whole process one for each processor,
            so that measured times mean something.
        allow_weak: Run also where a property does not hold. Default: whether PLEXUS_SANDBOX_ALLOW_WEAK is 1.
    """

    def __init__(self, *, concurrency: int | None = None, allow_weak: bool | None = None) -> None:
        self._concurrency = concurrency
        self._allow_weak = os.environ.get(ALLOW_WEAK) == "1" if allow_weak is None else allow_weak

    @contextlib.asynccontextmanager
    async def open(self, files: Mapping[str, bytes]) -> AsyncIterator[LocalWorkspace]:
        """Return a workspace with these files, 256 at most. See `Sandbox.open`."""
        if sys.platform != "linux":
            raise ConfigurationError(
                "the local sandbox needs Linux: use E2B (E2B_API_KEY) or run this in a container"
            )
        check_files(files)
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
        given = stdin.encode("utf-8", "surrogatepass")
        cpu_seconds = limits.cpu_seconds or math.ceil(limits.seconds)
        async with self._turns:
            found = await confinement(again=not self._allow_weak)
            if found.missing:
                if not self._allow_weak:
                    raise ConfigurationError(found.refusal())
                _warn(found)
            try:
                if not found.starts:
                    return await run_weakly(command, self._files, given, limits, cpu_seconds)
                running = start(
                    command,
                    self._files,
                    limits,
                    cpu_seconds=cpu_seconds,
                    filtered="syscalls" in found.holds,
                )
                result = await running.result(given, limits)
            except (NotStarted, OSError) as error:
                raise EngineUnavailable(
                    f"the local sandbox did not start a command: {error}"
                ) from error
            return msgspec.structs.replace(result, isolation=found.holds)


_warned: set[str] = set()


def _warn(found: Confinement) -> None:
    """Say once what is not held."""
    if found.missing not in _warned:
        _warned.add(found.missing)
        log.warning("submitted code runs weakly confined (%s=1): %s", ALLOW_WEAK, found.missing)


def check_files(files: Mapping[str, bytes]) -> None:
    """Check that files can lie together in one workspace. Raises InvalidRequest."""
    if len(files) > MOST_FILES:
        raise InvalidRequest(f"the sandbox holds {MOST_FILES} files at most, not {len(files)}")
    folders: set[str] = set()
    for path in files:
        check_path(path)
        folders.update(map(str, pathlib.PurePosixPath(path).parents))
    for path in files:
        if str(pathlib.PurePosixPath(path)) in folders:
            raise InvalidRequest(f"the sandbox cannot hold {path!r} both as a file and as a folder")


def check_path(path: str) -> None:
    """Check that a file stays in its workspace.

    Raises:
        InvalidRequest: it is empty, absolute, or climbs out.
    """
    parts = pathlib.PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidRequest(f"the sandbox cannot hold a file named {path!r}: give a relative path")
