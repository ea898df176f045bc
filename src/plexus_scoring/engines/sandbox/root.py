"""What a confined command can see: options of bwrap for a root of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import stat
import sys
from collections.abc import Iterator

from plexus_scoring.model.errors import ConfigurationError

TEMPORARY = "/tmp"  # noqa: S108  the sandbox's own
WORK = f"{TEMPORARY}/work"
# Not /usr as a whole: images keep projects in /usr/src, and configuration in /usr/local/etc.
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "include")
TOP = SYSTEM[:6]
# No secrets; programs of several files (Java, awk, libraries outside /usr/lib) are found through them.
CONFIGURATION = ("ld.so.cache", "alternatives", "java-*")
DEVICES = ("null", "zero", "full", "random", "urandom")


def environment() -> dict[str, str]:
    """Return all variables of a command."""
    return {"PATH": search_path(), "HOME": WORK, "TMPDIR": TEMPORARY, "LANG": "C.UTF-8"}


def search_path() -> str:
    """Return the PATH of a command: this interpreter's first."""
    return f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"


def visible(interpreter: str) -> Iterator[str]:
    """Yield the options for everything that can be seen and not written to.

    `interpreter` is where its prefix is found now; inside it is where it was built for.
    """
    for parent in ("/usr", "/usr/local", ""):
        for name in SYSTEM if parent else TOP:
            path = pathlib.Path(f"{parent}/{name}")
            if path.is_symlink() and parent != "/usr/local":
                yield from ("--symlink", str(path.readlink()), str(path))
            elif path.is_dir():
                yield from ("--ro-bind", str(path), str(path))
    for pattern in CONFIGURATION:
        for path in pathlib.Path("/etc").glob(pattern):
            yield from ("--ro-bind", str(path), str(path))
    for name in interpreter_directories():
        yield from ("--ro-bind", f"{interpreter}/{name}", f"{sys.base_prefix}/{name}")
    yield from ("--proc", "/proc")
    for name in DEVICES:
        yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        yield from ("--symlink", f"/proc/self/fd/{number}", f"/dev/{name}")
    yield from ("--symlink", "/proc/self/fd", "/dev/fd")
    yield from ("--symlink", f"{TEMPORARY}/shm", "/dev/shm")  # noqa: S108  the sandbox's own


def interpreter_directories(prefix: str | None = None) -> list[str]:
    """Return which directories of this interpreter's prefix must be bound: none where it is the system's.

    Raises:
        ConfigurationError: the prefix is the root, a home directory or a parent of one.
    """
    prefix = sys.base_prefix if prefix is None else prefix
    if prefix in {"/usr", "/usr/local"}:
        return []
    for home in _homes():
        if pathlib.Path(home).resolve().is_relative_to(pathlib.Path(prefix).resolve()):
            raise ConfigurationError(
                f"the interpreter's prefix {prefix} holds the home directory {home}, which submitted code must not "
                "see: run the service with a Python that has a directory of its own"
            )
    return [name for name in ("bin", "lib", "lib64") if pathlib.Path(prefix, name).is_dir()]


def _homes() -> set[str]:
    """Return the home directory of the environment and that of the user, which can differ or be missing."""
    homes = {os.path.expanduser("~")}  # noqa: PTH111  Path.home fails without one
    with contextlib.suppress(KeyError):
        homes.add(pwd.getpwuid(os.geteuid()).pw_dir)
    return {home for home in homes if home.startswith("/") and home != "/"}


def interpreter_is_reachable() -> bool:
    """Return whether every user of this machine can enter the interpreter's directory."""
    places = [pathlib.Path(os.path.realpath(sys.base_prefix))]
    places += places[0].parents
    return all(place.stat().st_mode & stat.S_IXOTH for place in places)
