"""Control groups that bound the memory and the number of all processes of a command together.

A group is made below the service's own (version 1), or below the nearest ancestor that hands out memory and
process limits (version 2, where a group with processes cannot). Both need root, or a delegated tree.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import pathlib
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Final

PREFIX = "plexus-sandbox-"
PROCESS = pathlib.Path("/proc/self")
CONTROLLERS = frozenset({"memory", "pids"})
_numbers = itertools.count(1)
_REMOVALS: Final = 40
_REMOVAL_SECONDS: Final = 0.005


class ControlGroup:
    """One group: one directory in version 2, one for each controller in version 1."""

    def __init__(self, directories: tuple[pathlib.Path, ...]) -> None:
        self._directories = directories

    @property
    def process_files(self) -> list[str]:
        """Return the files that take in the process which writes 0 to them."""
        return [str(directory / "cgroup.procs") for directory in self._directories]

    def holds(self, process: int) -> bool:
        """Return whether a process is in the group."""
        return all(process in _members(directory) for directory in self._directories)

    def peak_memory(self) -> int | None:
        """Return the most memory that the group has had; None where the kernel does not tell."""
        for directory in self._directories:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with contextlib.suppress(OSError):
                    return int((directory / name).read_text())
        return None

    def remove(self) -> None:
        """Kill what is left in the group and remove it, once it has died."""
        for directory in self._directories:
            for _ in range(_REMOVALS):
                for process in _members(directory):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(process, signal.SIGKILL)
                try:
                    directory.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_REMOVAL_SECONDS)  # a group whose processes are dying is busy
                else:
                    break


def make_group(*, memory_bytes: int, processes: int) -> ControlGroup | None:
    """Return a new group with these limits; None where this process may not make one."""
    name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    for parents in _places():
        made: list[pathlib.Path] = []
        try:
            for parent in parents:
                _sweep(parent)
                directory = parent / name
                directory.mkdir()
                made.append(directory)
                _limit(directory, memory_bytes, processes)
        except OSError:
            for directory in made:
                directory.rmdir()
            continue
        return ControlGroup(tuple(made))
    return None


def _places() -> Iterator[tuple[pathlib.Path, ...]]:
    """Yield where a group can be made, the nearest place first."""
    own = _own_groups()
    if "" in own:
        mount, place = own[""]
        for directory in (place, *place.parents):
            if _hands_out_limits(directory):
                yield (directory,)
            if directory == mount:
                break
    if own.keys() >= CONTROLLERS:
        # Both controllers can share a hierarchy.
        yield tuple(sorted({own[controller][1] for controller in CONTROLLERS}))


def _hands_out_limits(directory: pathlib.Path) -> bool:
    """Return whether groups below a directory have limits, and this process may move into them."""
    control = directory / "cgroup.subtree_control"
    try:
        handed_out = set(control.read_text().split())
        if not handed_out >= CONTROLLERS and directory.stat().st_uid == os.geteuid() != 0:
            # Delegated to this user and used by nobody else; root's are the machine's, which is not ours to change.
            control.write_text(" ".join(f"+{name}" for name in sorted(CONTROLLERS)))
            handed_out = set(control.read_text().split())
    except OSError:
        return False
    return handed_out >= CONTROLLERS and os.access(directory / "cgroup.procs", os.W_OK)


def _own_groups() -> Mapping[str, tuple[pathlib.Path, pathlib.Path]]:
    """Return the mount point and this process's directory of each controller; "" is version 2's."""
    try:
        groups = (PROCESS / "cgroup").read_text().splitlines()
        mounts = (PROCESS / "mountinfo").read_text().splitlines()
    except OSError:
        return {}
    paths = {
        controller: path
        for _, controllers, path in (line.split(":", 2) for line in groups)
        for controller in controllers.split(",")
    }
    found = {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in {"cgroup", "cgroup2"}:
            continue
        root, mount = before.split(" ")[3:5]
        for controller in [""] if kind == "cgroup2" else options.split(" ")[-1].split(","):
            path = paths.get(controller)
            if path is not None and pathlib.PurePosixPath(path).is_relative_to(root):
                place = pathlib.Path(mount)
                found[controller] = (place, place / pathlib.PurePosixPath(path).relative_to(root))
    return found


def _limit(directory: pathlib.Path, memory_bytes: int, processes: int) -> None:
    """Set the limits that this directory's controllers have, and check that they took."""
    page = os.sysconf("SC_PAGE_SIZE")
    memory = str(memory_bytes - memory_bytes % page)
    needed = {"memory.max": memory, "memory.limit_in_bytes": memory, "pids.max": str(processes)}
    taken = 0
    for name, value in needed.items():
        file = directory / name
        if file.exists():
            file.write_text(value)
            if file.read_text().strip() != value:
                raise OSError(errno.EINVAL, f"{file} does not keep what is written")
            taken += 1
    if not taken:
        raise OSError(errno.ENOENT, f"{directory} has no limits")
    for name, value in (("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", memory)):
        file = directory / name
        if file.exists():
            file.write_text(value)


def _members(directory: pathlib.Path) -> list[int]:
    try:
        lines = (directory / "cgroup.procs").read_text().split()
        # 0 stands for a process of another namespace; to kill it would mean this process's own group.
        return [int(line) for line in lines if line != "0"]
    except OSError:
        return []


def _sweep(parent: pathlib.Path) -> None:
    """Remove groups of services that were killed."""
    for directory in parent.glob(f"{PREFIX}*-*"):
        service = directory.name.removeprefix(PREFIX).partition("-")[0]
        if not pathlib.Path(f"/proc/{service}").exists():
            ControlGroup((directory,)).remove()
