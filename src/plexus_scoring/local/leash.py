"""Kills the processes we started if we die without stopping them, however we die.

One small watcher process reads a pipe from us. Each line is ``+GROUP`` or ``-GROUP``; at end of file,
which the kernel sends even after SIGKILL, it kills the process groups that are left. This works on every
POSIX system and, unlike Linux's parent-death signal, from any thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable


class _Leash:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watcher: subprocess.Popen[bytes] | None = None

    def hold(self, group: int) -> None:
        """Kill this process group when we are gone."""
        self._send(f"+{group}\n")

    def release(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """End the watcher, which kills what is still held."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None and watcher.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                watcher.stdin.close()
            watcher.wait()

    def _send(self, line: str) -> None:
        with self._lock:
            watcher = self._watcher
            if watcher is None or watcher.poll() is not None:
                watcher = self._watcher = subprocess.Popen(  # noqa: S603 - our own file
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C in the terminal is for us, not for the watcher
                )
            if watcher.stdin is not None:
                watcher.stdin.write(line.encode())
                watcher.stdin.flush()


leash = _Leash()
atexit.register(leash.close)


def kill_group(group: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process group, which may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_session(session: int) -> None:
    """Kill what is left of the session that a process began: its children may have left its process group.

    Where there is no /proc, only the group can be found.
    """
    kill_group(session)
    while found := [pid for pid in _pids() if _session_of(pid) == session]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)  # a child may have begun another before it ended


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  as below
    except OSError:
        return []


def _session_of(pid: int) -> int | None:
    """Return the session of a process that runs, None for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  the watcher starts without pathlib
            # The name, in parentheses, may hold anything; after it stand state, parent, group and session.
            state, _, _, session = stat.read().rpartition(b")")[2].split()[:4]
    except OSError:
        return None
    return None if state == b"Z" else int(session)


def _watch(lines: Iterable[str]) -> None:
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        kill_session(group)


if __name__ == "__main__":
    _watch(sys.stdin)
