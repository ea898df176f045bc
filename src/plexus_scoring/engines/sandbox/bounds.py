"""What is asked of the kernel so that `SandboxLimits` hold."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import msgspec

from plexus_scoring.engines.sandbox.base import MEBIBYTE, SandboxLimits

# Without a control group each process may have this much, if the limit has room for two of them.
SHARE_BYTES = 256 * MEBIBYTE
# They start threads by the dozen, which the kernel counts as processes.
THREADED = frozenset({"bun", "deno", "java", "node", "nodejs"})
# A file of size 0 takes a kilobyte, too.
MOST_INODES = 16_384


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one command.

    Attributes:
        address_space: Bytes of each process.
        processes: Processes and threads, the sandbox's first process among them.
        temporary_bytes: Size of the only file system that can be written to.
        forks: Whether the command may start processes, not only threads.
        grouped: Whether a control group bounds the memory and number of all processes together.
    """

    address_space: int
    processes: int
    temporary_bytes: int
    forks: bool = True
    grouped: bool


def bounds(limits: SandboxLimits, command: Sequence[str], *, grouped: bool) -> Bounds:
    """Return the bounds.

    Without a control group, the number of processes times their address space and the files stay below the limit of
    the memory: there are few processes, or, for what needs threads, a single one.
    """
    if grouped:
        return Bounds(
            address_space=limits.memory_bytes,
            processes=limits.processes + 1,
            temporary_bytes=limits.disk_bytes,
            grouped=True,
        )
    temporary = min(limits.disk_bytes, limits.memory_bytes // 4)
    memory = limits.memory_bytes - temporary
    if command and pathlib.PurePosixPath(command[0]).name in THREADED:
        return Bounds(
            address_space=memory,
            processes=limits.processes + 1,
            temporary_bytes=temporary,
            forks=False,
            grouped=False,
        )
    processes = 1 + max(2, min(limits.processes, limits.memory_bytes // SHARE_BYTES))
    return Bounds(
        address_space=memory // processes,
        processes=processes,
        temporary_bytes=temporary,
        grouped=False,
    )


def resource_limits(limits: SandboxLimits, held: Bounds, cpu_seconds: int) -> list[str]:
    """Return the call of prlimit that sets each process's limits."""
    return [
        "/usr/bin/prlimit",
        f"--as={held.address_space}",
        f"--nproc={held.processes}",
        f"--fsize={held.temporary_bytes}",
        f"--cpu={cpu_seconds}",
        f"--nofile={limits.open_files}",
        "--core=0",
        "--",
    ]
