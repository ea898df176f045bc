"""Runs one file in a sandbox, for `plexus-scoring sandbox run FILE`."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Sequence

from plexus_scoring.engines.sandbox.base import Sandbox, SandboxLimits, SandboxResult
from plexus_scoring.engines.sandbox.choice import make_sandbox
from plexus_scoring.model.errors import InvalidRequest

COMMANDS = {
    ".py": ("python3",),
    ".js": ("node",),
    ".mjs": ("node",),
    ".sh": ("sh",),
    ".rb": ("ruby",),
    ".pl": ("perl",),
    ".php": ("php",),
    ".java": ("java",),
    ".go": ("go", "run"),
}


async def run_file(
    path: str | pathlib.Path,
    *,
    kind: str = "auto",
    timeout: float = 30.0,  # noqa: ASYNC109  the command's time, not this call's
    arguments: Sequence[str] = (),
    stdin: str = "",
    sandbox: Sandbox | None = None,
) -> SandboxResult:
    """Create a sandbox, run the file in it, and clean up.

    Args:
        path: The file. Its ending says what runs it; a file that begins with ``#!`` says so itself.
        kind: auto, local or e2b; see `make_sandbox`.
        timeout: Seconds that it may run.
        arguments: For the program.
        stdin: Its standard input.
        sandbox: Used instead of a new one, and left open.

    Raises:
        InvalidRequest: the file cannot be read, or nothing is known to run it.
        ConfigurationError, EngineUnavailable: of the sandbox.
    """
    path = pathlib.Path(path)
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    command = command_for(path, content)
    used = sandbox or make_sandbox(kind)
    try:
        async with used.open({path.name: content}) as workspace:
            return await workspace.run(
                [*command, *arguments], stdin=stdin, limits=SandboxLimits(seconds=timeout)
            )
    finally:
        if sandbox is None:
            await used.aclose()


def command_for(path: pathlib.Path, content: bytes) -> list[str]:
    """Return the command that runs a file. Raises InvalidRequest if none is known."""
    if content.startswith(b"#!"):
        line = content.split(b"\n", 1)[0][2:].decode("utf-8", "replace").split()
        # Another machine has its interpreters elsewhere: the name is what counts.
        names = [pathlib.PurePosixPath(part).name for part in line[:1]] + line[1:]
        words = [name for name in names[1:] if name != "-S"] if names[:1] == ["env"] else names
        if words:
            return [*words, path.name]
    known = COMMANDS.get(path.suffix.lower())
    if known is None:
        raise InvalidRequest(
            f"nothing is known to run {path.name}: begin it with a #! line, or end its name in "
            f"{', '.join(COMMANDS)}"
        )
    return [*known, path.name]
