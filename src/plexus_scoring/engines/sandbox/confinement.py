"""Finds out, once in a process, what the sandbox of this machine really holds."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.engines.sandbox.base import MEBIBYTE, SandboxLimits
from plexus_scoring.engines.sandbox.bounds import bounds
from plexus_scoring.engines.sandbox.bubblewrap import start
from plexus_scoring.engines.sandbox.process import TOOLS_PATH, NotStarted
from plexus_scoring.engines.sandbox.root import DEVICES, TEMPORARY, interpreter_directories
from plexus_scoring.engines.sandbox.seccomp import LIBRARY, filter_program
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable

ALLOW_WEAK = "PLEXUS_SANDBOX_ALLOW_WEAK"
INSIDE = pathlib.Path(__file__).with_name("inside.py")
TOOLS = {
    "bwrap": "bubblewrap",
    "prlimit": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
REQUIRED = (
    "network",
    "ipc",
    "files",
    "processes",
    "privileges",
    "syscalls",
    "memory",
    "disk",
)
PROBE_LIMITS = SandboxLimits(seconds=60.0, processes=8, disk_bytes=4 * MEBIBYTE)
ROOT = frozenset(
    {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr"}
)
WRITABLE = frozenset({"/proc", TEMPORARY, *(f"/dev/{name}" for name in DEVICES)})
# The second line is what shells and Python itself set.
ENVIRONMENT = frozenset(
    {
        *("HOME", "LANG", "PATH", "TMPDIR"),
        *("LC_CTYPE", "OLDPWD", "PWD", "SHLVL", "_"),
    }
)
_OWN_PROCESSES = 3  # the shell, its child, the probe
_NAMESPACES = (
    "allow user namespaces for this user (sysctl user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), in a container also by its "
    "seccomp profile and an unmasked /proc; see docs/operations.md"
)


class Confinement(msgspec.Struct, frozen=True):
    """What holds for every command of this process.

    Attributes:
        holds: The properties that were seen to hold.
        missing: What does not hold or is not there, and how to get it; "" where everything holds.
        starts: Whether bubblewrap can be used at all.
    """

    holds: tuple[str, ...] = ()
    missing: str = ""
    starts: bool = True

    def refusal(self) -> str:
        """Return one line that says why nothing is run."""
        return (
            f"submitted code cannot be confined on this machine: {self.missing}; "
            f"or use E2B (E2B_API_KEY), or set {ALLOW_WEAK}=1 to run it all the same"
        )


_found: Confinement | None = None


async def confinement(*, again: bool = True) -> Confinement:
    """Return what holds here. It is remembered; if something is missing, it is looked at `again`."""
    global _found  # noqa: PLW0603  one for the process, like the machine
    if _found is None or (_found.missing and again):
        _found = await _examine()
    return _found


async def _examine() -> Confinement:
    if sys.platform != "linux":
        return Confinement(missing="it needs Linux: run the service in a container", starts=False)
    absent = [tool for tool in TOOLS if shutil.which(tool, path=TOOLS_PATH) is None]
    if absent:
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in absent))
        return Confinement(
            missing=f"{', '.join(absent)} is not installed: apt-get install {packages}",
            starts=False,
        )
    without_filter = ""
    try:
        filter_program()
    except OSError as error:
        without_filter = f"no seccomp filter ({LIBRARY}: {error}): apt-get install libseccomp2"
    try:
        running = start(
            ["python3", "-I", "-S", INSIDE.name],
            {INSIDE.name: INSIDE.read_bytes()},
            PROBE_LIMITS,
            cpu_seconds=60,
            filtered=not without_filter,
        )
        result = await running.result(b"", PROBE_LIMITS)
    except (NotStarted, OSError) as error:
        return Confinement(missing=_why(str(error)), starts=False)
    except (ConfigurationError, EngineUnavailable) as error:
        return Confinement(missing=error.message, starts=False)
    if not result.succeeded:
        last = (result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"])[-1]
        return Confinement(missing=f"this Python does not run in the sandbox: {last}")
    seen = json.loads(result.stdout)
    seen["in_group"] = running.in_group
    held = properties(seen, _own_namespaces(), grouped=running.grouped)
    other_user = running.host_user not in {None, os.geteuid()}
    wrong = [name for name in REQUIRED if name not in held]
    missing = without_filter or (
        f"the sandbox that bubblewrap makes here does not hold: {', '.join(wrong)}" if wrong else ""
    )
    return Confinement(holds=(*held, *(["user"] if other_user else [])), missing=missing)


def properties(
    seen: Mapping[str, Any], outside: Mapping[str, str], *, grouped: bool
) -> tuple[str, ...]:
    """Return which of the required properties hold, by what the probe saw inside."""
    status = seen["status"]
    held = bounds(PROBE_LIMITS, [], grouped=grouped)
    own = {name: seen["namespaces"][name] != outside[name] for name in outside}
    interpreter = (
        {pathlib.PurePosixPath(sys.base_prefix).parts[1]} if interpreter_directories() else set()
    )
    bounded = (
        seen["address_space"] == held.address_space and seen["process_limit"] == held.processes
    )
    checks = {
        "network": own["net"] and set(seen["interfaces"]) <= {"lo"} and bool(seen["connection"]),
        "ipc": own["ipc"] and own["uts"],
        "files": own["mnt"]
        and set(seen["root"]) <= ROOT | interpreter
        and set(seen["writable"]) <= WRITABLE
        and set(seen["environment"]) <= ENVIRONMENT,
        "processes": own["pid"]
        and seen["processes"] <= _OWN_PROCESSES
        and bounded
        and seen["forks"] < held.processes,
        "privileges": own["user"]
        and int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
        and status["NoNewPrivs"] == "1"
        and bool(seen["user_namespace"]),
        "syscalls": status["Seccomp"] == "2",
        "memory": bounded and seen["in_group"] == grouped,
        "disk": seen["temporary_bytes"] <= held.temporary_bytes,
    }
    return tuple(name for name in REQUIRED if checks[name])


def _own_namespaces() -> dict[str, str]:
    names = ("ipc", "mnt", "net", "pid", "user", "uts")
    return {name: str(pathlib.Path(f"/proc/self/ns/{name}").readlink()) for name in names}


def _why(said: str) -> str:
    last = (said.splitlines() or ["it was killed"])[-1]
    if "Unknown option" in said or "unrecognized" in said:
        return f"bubblewrap is too old ({last}): version 0.8 is needed"
    if (
        "amespace" in said
        or "not permitted" in said
        or "uid map" in said
        or "No space left" in said
    ):
        return f"user namespaces are not allowed ({last}): {_NAMESPACES}"
    return f"bubblewrap cannot set the sandbox up: {last}"
