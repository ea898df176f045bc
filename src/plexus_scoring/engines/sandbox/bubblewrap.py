"""Starts a command in a root of its own, which bubblewrap makes."""

from __future__ import annotations

import fcntl
import itertools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.bounds import MOST_INODES, Bounds, bounds, resource_limits
from plexus_scoring.engines.sandbox.cgroup import make_group
from plexus_scoring.engines.sandbox.process import COMMAND, COMMAND_ALONE, Running
from plexus_scoring.engines.sandbox.root import (
    TEMPORARY,
    WORK,
    environment,
    interpreter_directories,
    interpreter_is_reachable,
    visible,
)
from plexus_scoring.engines.sandbox.seccomp import filter_program

NOBODY = 65534
# Root becomes a user of its own for each run: limits are counted by user, and user 0 has none.
FIRST_USER, USERS = 1_800_000_000, 65_536
# bwrap, the shell that is process 1, and the child that becomes the command.
OWN_PROCESSES = 3
# Empty directories of every Linux, over which the outer mount namespace mounts.
INTERPRETER_STAGE, TEMPORARY_STAGE = "/mnt", "/media"
BIND = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
LIMITED = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
_numbers = itertools.count(os.getpid())


def start(
    command: Sequence[str],
    files: Mapping[str, bytes],
    limits: SandboxLimits,
    *,
    cpu_seconds: int,
    filtered: bool = True,
) -> Running:
    """Start a command in a directory with these files.

    Raises:
        ConfigurationError: the interpreter lies where binding it would show more than the interpreter.
        OSError: a tool or libseccomp is missing, or too many files are open.
    """
    group = make_group(memory_bytes=limits.memory_bytes, processes=limits.processes + OWN_PROCESSES)
    held = bounds(limits, command, grouped=group is not None)
    descriptors: list[int] = []
    reader = None
    try:
        reader, writer = os.pipe()
        descriptors.append(writer)
        options = _options(held)
        for path, content in files.items():
            descriptors.append(_memory_file(content))
            options += ["--perms", "0644", "--file", str(descriptors[-1]), f"{WORK}/{path}"]
        if filtered:
            descriptors.append(_memory_file(filter_program(forks=held.forks)))
            options += ["--seccomp", str(descriptors[-1])]
        options += ["--remount-ro", "/", "--chdir", WORK, "--info-fd", str(writer)]
        descriptors.append(_memory_file("\0".join(options).encode()))
        arguments = [
            *_outside(held),
            *("bwrap", "--args", str(descriptors[-1]), "--"),
            *resource_limits(limits, held, cpu_seconds),
            *("/bin/sh", "-c", COMMAND if held.forks else COMMAND_ALONE, "sh", *command),
        ]
    except BaseException:
        for descriptor in (*descriptors, *([] if reader is None else [reader])):
            os.close(descriptor)
        if group is not None:
            group.remove()
        raise
    return Running(
        arguments,
        descriptors=descriptors,
        information=reader,
        group=group,
        alone=not held.forks,
    )


def own_user() -> int:
    """Return a user for one run of a service that is root."""
    user = FIRST_USER + next(_numbers) % USERS
    ranges = pathlib.Path("/proc/self/uid_map").read_text().splitlines()
    for first, _, count in (map(int, line.split()) for line in ranges):
        if first <= user < first + count:
            return user
    return NOBODY


def change_user(user: int) -> list[str]:
    """Return the call of setpriv that becomes a user without any rights."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]


def _options(held: Bounds) -> list[str]:
    """Return bwrap's options but those that name a descriptor."""
    options = [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--as-pid-1"),
        *("--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"),
        "--clearenv",
    ]
    for name, value in environment().items():
        options += ["--setenv", name, value]
    options += visible(INTERPRETER_STAGE if _interpreter_is_staged() else sys.base_prefix)
    # One file system for everything that can be written, so that one size bounds it.
    if held.grouped:
        options += ["--size", str(held.temporary_bytes), "--perms", "1777", "--tmpfs", TEMPORARY]
    else:
        options += ["--bind", TEMPORARY_STAGE, TEMPORARY]
    return [*options, "--perms", "0755", "--dir", WORK, "--dir", f"{TEMPORARY}/shm"]


def _outside(held: Bounds) -> list[str]:
    """Return the tools that do what bwrap cannot, in mount namespaces that end with it.

    An interpreter below /root is mounted where the run's own user can reach it. Root becomes another user: in the
    sandbox its number would be root's number outside. Without a control group, /tmp gets a limit of its inodes.
    """
    arguments: list[str] = []
    if _interpreter_is_staged():
        prefix = os.path.realpath(sys.base_prefix)
        arguments += ["unshare", "--mount", "--propagation", "private"]
        arguments += ["sh", "-c", BIND, "sh", prefix, INTERPRETER_STAGE]
    if os.geteuid() == 0:
        arguments += change_user(own_user())
    if not held.grouped:
        options = f"mode=1777,size={held.temporary_bytes},nr_inodes={MOST_INODES},nosuid,nodev"
        arguments += ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]
        arguments += ["sh", "-c", LIMITED, "sh", options, TEMPORARY_STAGE]
    return arguments


def _interpreter_is_staged() -> bool:
    return os.geteuid() == 0 and bool(interpreter_directories()) and not interpreter_is_reachable()


def _memory_file(content: bytes) -> int:
    """Return a file that is in no directory, so that nobody else can open it, and that nobody can change."""
    file = os.memfd_create("plexus-sandbox", os.MFD_ALLOW_SEALING)
    with open(file, "wb", closefd=False) as writer:
        writer.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file
