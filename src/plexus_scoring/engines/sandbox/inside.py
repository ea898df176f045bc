"""Looks around inside a sandbox and prints what it sees as JSON. Run as a script, with no import of ours."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pathlib
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

CLONE_NEWUSER = 0x10000000
MOST_FORKS = 64


def error_of(action: Callable[[], Any]) -> str:
    """Return the name of the error that a call raises; "" if it raises none."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def new_user_namespace() -> None:
    """Ask for a user namespace, in which the process would have every capability."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def forks() -> int:
    """Return how many children this process can have."""
    children: list[int] = []
    try:
        while len(children) < MOST_FORKS:
            child = os.fork()
            if child == 0:
                while True:
                    time.sleep(60)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def writable_mounts() -> list[str]:
    """Return the mount points that are not read-only."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if "ro" not in fields[5].split(","):
            found.append(fields[4])
    return found


def main() -> None:
    """Print what is seen, once it was seen from outside."""
    sys.stdin.read()
    status = dict(
        line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    )
    interfaces = pathlib.Path("/proc/net/dev").read_text().splitlines()[2:]
    temporary = os.statvfs("/tmp")  # noqa: S108  the sandbox's own
    seen = {
        "namespaces": {
            name: str(pathlib.Path(f"/proc/self/ns/{name}").readlink())
            for name in ("ipc", "mnt", "net", "pid", "user", "uts")
        },
        "status": {
            name: status.get(name, "").strip()
            for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")
        },
        "interfaces": [line.split(":")[0].strip() for line in interfaces],
        "connection": error_of(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        "processes": len([path for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]),
        "root": sorted(path.name for path in pathlib.Path("/").iterdir()),
        "writable": writable_mounts(),
        "temporary_bytes": temporary.f_blocks * temporary.f_frsize,
        "environment": sorted(os.environ),
        "user_namespace": error_of(new_user_namespace),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0],
        "process_limit": resource.getrlimit(resource.RLIMIT_NPROC)[0],
        "forks": forks(),
    }
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
