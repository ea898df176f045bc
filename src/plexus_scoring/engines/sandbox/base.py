"""The port behind which code that nobody vouches for is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

MEBIBYTE = 1024 * 1024


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one command may use.

    Attributes:
        seconds: Wall-clock time, after which everything the command started is killed.
        cpu_seconds: Processor time of each of its processes, a whole number; None: as `seconds`, rounded up.
        memory_bytes: Memory of all its processes together, the files that it writes included; also the address
            space of each.
        disk_bytes: Files that it writes, together; where the sandbox has no file system of its own, each.
        output_bytes: Standard output and error, each; one byte more ends the command.
        processes: Processes and threads at a time.
        open_files: Open files of each process.
    """

    seconds: float = 10.0
    cpu_seconds: int | None = None
    memory_bytes: int = 1024 * MEBIBYTE
    disk_bytes: int = 64 * MEBIBYTE
    output_bytes: int = 64 * 1024
    processes: int = 64
    open_files: int = 128


class SandboxResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended.

    Attributes:
        exit_code: What it returned; 128 + n where signal n ended it; None where the sandbox ended it.
        seconds: Wall-clock time that it ran, without what starting the sandbox took.
        cpu_seconds: Processor time of all its processes; None where the sandbox does not tell.
        peak_memory_bytes: Most memory of all its processes together; None where the sandbox does not tell.
        timed_out: It was killed because its time was over.
        output_exceeded: It was killed because it wrote too much; what it had written by then is kept.
        isolation: What was seen to hold on this machine: network, ipc, files, processes, privileges, syscalls,
            memory, disk, user; at E2B machine and network.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    timed_out: bool = False
    output_exceeded: bool = False
    isolation: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the command ended by itself with 0."""
        return self.exit_code == 0


class Workspace(Protocol):
    """A place with files in which commands run. No command sees what another one wrote, except in one workspace."""

    async def run(
        self,
        command: Sequence[str],
        *,
        stdin: str = "",
        limits: SandboxLimits | None = None,
    ) -> SandboxResult:
        """Run a command in the directory of the files, with nothing of our environment.

        Raises EngineUnavailable (the sandbox does not answer), ConfigurationError. Cancelling the call kills
        the command.
        """
        ...


class Sandbox(Protocol):
    """Somewhere to run code."""

    def open(self, files: Mapping[str, bytes]) -> AbstractAsyncContextManager[Workspace]:
        """Return a workspace with these files (relative path → content); leaving it removes everything.

        Raises InvalidRequest (a path that is absolute or leaves the directory), ConfigurationError,
        EngineUnavailable.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...
