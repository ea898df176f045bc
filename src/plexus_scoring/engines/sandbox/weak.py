"""Runs a command with resource limits only: for PLEXUS_SANDBOX_ALLOW_WEAK=1 where nothing better can be had."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence

import msgspec

from plexus_scoring.engines.sandbox.base import SandboxLimits, SandboxResult
from plexus_scoring.engines.sandbox.bounds import bounds, resource_limits
from plexus_scoring.engines.sandbox.bubblewrap import OWN_PROCESSES, change_user, own_user
from plexus_scoring.engines.sandbox.cgroup import make_group
from plexus_scoring.engines.sandbox.process import COMMAND, Running
from plexus_scoring.engines.sandbox.root import search_path


async def run_weakly(
    command: Sequence[str],
    files: Mapping[str, bytes],
    stdin: bytes,
    limits: SandboxLimits,
    cpu_seconds: int,
) -> SandboxResult:
    """Run a command in a temporary directory. What leaves its process group and has no control group may stay."""
    user = own_user() if os.geteuid() == 0 else None
    directory = pathlib.Path(tempfile.mkdtemp(prefix="plexus-sandbox-"))
    try:
        await asyncio.to_thread(_write_files, directory, files, user)
        group = make_group(
            memory_bytes=limits.memory_bytes, processes=limits.processes + OWN_PROCESSES
        )
        running = Running(
            [
                *(change_user(user) if user is not None else []),
                *resource_limits(limits, bounds(limits, command, grouped=True), cpu_seconds),
                *("/bin/sh", "-c", COMMAND, "sh", *command),
            ],
            group=group,
            directory=str(directory),
            environment={
                "PATH": search_path(),
                "HOME": str(directory),
                "TMPDIR": str(directory),
                "LANG": "C.UTF-8",
            },
        )
        result = await running.result(stdin, limits)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True))
    held = [*(["user"] if user is not None else []), *(["memory"] if group is not None else [])]
    return msgspec.structs.replace(result, isolation=tuple(held))


def _write_files(directory: pathlib.Path, files: Mapping[str, bytes], user: int | None) -> None:
    for name, content in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    if user is not None:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user, user)
