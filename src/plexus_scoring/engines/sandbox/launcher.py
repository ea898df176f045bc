"""Starts a command with as little as the kernel can be made to leave it. Run as a script, with no import of ours.

    python -I -S launcher.py REPORT_FD '{"command": […], "directory": …, "seconds": …, …}'

Being a process of its own it needs no code between fork and exec in the service, whose threads would make that unsafe.

    service ── launcher ── supervisor ─────────────── command ── whatever it starts
                           pid 1 of a namespace       session, rlimits, another user, no new privileges
                           (the launcher itself where namespaces are not allowed)

When the supervisor ends, the kernel kills the rest of its process namespace; without one it finds and kills its
descendants, whose orphans come back to it (PR_SET_CHILD_SUBREAPER). All die with the service (PR_SET_PDEATHSIG).
The supervisor writes one JSON object to the report's file descriptor, which the command does not inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself costs start-up time
    from typing import Any, NoReturn

    Config = dict[str, Any]

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
NOBODY = 65534
# A user of its own for each run, so that runs at the same time cannot touch each other's processes.
FIRST_USER, USERS = 1_800_000_000, 65_536
WORK = "/tmp/work"  # noqa: S108  in a file system of the command's own
HIDDEN = ("/tmp", "/var/tmp", "/dev/shm", "/run/secrets", "/var/run/secrets", "/home", "/root")  # noqa: S108

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def unshare(flags: int) -> bool:
    """Return whether the kernel gave these namespaces."""
    return bool(libc.unshare(flags) == 0)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> bool:
    """Mount, and return whether that worked."""
    arguments = (source.encode(), target.encode(), kind.encode())
    return bool(libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()) == 0)


def leave_namespaces() -> list[str]:
    """Leave the service's network, processes and mounts; return what was left."""
    if os.geteuid() != 0:
        user, group = os.geteuid(), os.getegid()
        if not unshare(CLONE_NEWUSER):
            return []
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  start-up time counts here
                file.write(text)
    wanted = (
        ("network", CLONE_NEWNET),
        ("ipc", CLONE_NEWIPC),
        ("files", CLONE_NEWNS),
        ("processes", CLONE_NEWPID),
    )
    return [name for name, flag in wanted if unshare(flag)]


def hide_files(directory: str, disk_bytes: int, interpreter: str) -> str | None:
    """Put empty file systems over what is not the command's; return where its files are now."""
    if not mount("none", "/", "none", MS_REC | MS_PRIVATE):
        return None
    if interpreter.startswith("/tmp/"):  # noqa: S108  what is hidden cannot be run
        return None
    source = os.open(directory, os.O_DIRECTORY)
    if not mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC):
        return None
    options = f"size={disk_bytes},mode=1777"
    home = os.environ.get("SANDBOX_HIDE_HOME", "")
    for place in {*HIDDEN, *([home] if home else [])}:
        if os.path.isdir(place) and not interpreter.startswith(f"{place}/"):  # noqa: PTH112
            hidden = mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, options)
            if not hidden and place == "/tmp":  # noqa: S108
                return None
    os.mkdir(WORK, 0o755)  # noqa: PTH102
    shutil.copytree(f"/proc/self/fd/{source}", WORK, dirs_exist_ok=True, symlinks=True)
    os.close(source)
    return WORK


def give_up_privileges(work: str, number: int) -> bool:
    """Become a user who owns nothing but the files in `work`; return whether that was possible."""
    if os.geteuid() != 0:
        return False
    for user in (FIRST_USER + number % USERS, NOBODY):
        with contextlib.suppress(OSError):
            os.chown(work, user, user)
            for folder, folders, files in os.walk(work):
                for name in folders + files:
                    os.chown(os.path.join(folder, name), user, user, follow_symlinks=False)  # noqa: PTH118
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            return True
    return False


def limit(config: Config) -> None:
    """Set the resource limits."""
    for kind, value in (
        (resource.RLIMIT_CPU, config["cpu_seconds"]),
        (resource.RLIMIT_AS, config["memory_bytes"]),
        (resource.RLIMIT_FSIZE, config["disk_bytes"]),
        (resource.RLIMIT_NPROC, config["processes"]),
        (resource.RLIMIT_NOFILE, config["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        bounded = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (bounded, bounded))


def become_command(config: Config, work: str) -> NoReturn:
    """Turn this process into the command. Never returns."""
    os.setsid()
    limit(config)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, 256)
    environment = {
        "PATH": f"{config['python_bin']}:/usr/local/bin:/usr/bin:/bin",
        "HOME": work,
        "TMPDIR": work,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    name = config["command"][0]
    reason = "not found"
    for folder in [""] if "/" in name else environment["PATH"].split(":"):
        try:
            os.execve(os.path.join(folder, name), config["command"], environment)  # noqa: PTH118, S606
        except PermissionError:
            reason = "not executable for the sandbox's user"
        except OSError as error:
            if "/" in name:
                reason = str(error.strerror)
    os.write(2, f"{name}: {reason} (looked in {environment['PATH']})\n".encode())
    os._exit(127)


def descendants() -> list[int]:
    """Return the processes below this one."""
    found, todo = [], [os.getpid()]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{parent}/children") as file:  # noqa: PTH123
            children = [int(number) for number in file.read().split()]
            found += children
            todo += children
    return found


def kill_all() -> None:
    """Kill and reap whatever is left below this process."""
    while True:
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            for process in descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def wait_for(child: int, seconds: float, stop_signals: set[int]) -> int | None:
    """Return the child's wait status; None where its time was over or a stop was asked."""
    end = time.monotonic() + seconds
    while True:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == child:
            return status
        if process:
            continue  # an orphan that came back to us
        left = end - time.monotonic()
        if left <= 0:
            return None
        arrived = signal.sigtimedwait({signal.SIGCHLD, *stop_signals}, left)
        if arrived is not None and arrived.si_signo in stop_signals:
            return None


def is_strong(isolation: list[str]) -> bool:
    """Whether the command will be kept from the service's processes and files: another user, or all its own."""
    return os.geteuid() == 0 or {"processes", "files"} <= set(isolation)


def refuse(report: int, isolation: list[str]) -> None:
    """Report that the command was not run."""
    os.write(report, json.dumps({"refused": isolation}).encode())


def supervise(config: Config, isolation: list[str], report: int) -> None:
    """Run the command and report how it ended."""
    work = config["directory"]
    if "files" in isolation:
        own = hide_files(work, config["disk_bytes"], sys.executable)
        isolation = isolation if own else [name for name in isolation if name != "files"]
        work = own or work
    if not is_strong(isolation) and not config["allow_weak"]:
        refuse(report, isolation)
        return
    os.chdir(work)
    ready, tell = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(ready)
        was_root = os.geteuid() == 0
        left = give_up_privileges(work, config["number"])
        if was_root and not left:
            os._exit(126)
        os.write(tell, b"u" if left else b"-")
        become_command(config, work)
    os.close(tell)
    told = os.read(ready, 1)
    if not told:  # nothing of anyone else's runs as root
        refuse(report, isolation)
        return
    if told == b"u":
        isolation = [*isolation, "user"]
    status = wait_for(child, config["seconds"], {signal.SIGTERM})
    seconds = time.monotonic() - begun
    kill_all()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = None
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
    answer = {
        "exit_code": code,
        "timed_out": status is None and seconds >= config["seconds"],
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": used.ru_maxrss * 1024,
        "isolation": isolation,
    }
    os.write(report, json.dumps(answer).encode())


def main() -> None:
    """Leave the namespaces, then supervise as the first process of the new one."""
    report, config = int(sys.argv[1]), json.loads(sys.argv[2])
    os.set_inheritable(report, False)  # noqa: FBT003
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    isolation = leave_namespaces()
    if "processes" not in isolation:
        supervise(config, isolation, report)
        return
    supervisor = os.fork()
    if supervisor == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        supervise(config, isolation, report)
        os._exit(0)
    # A stop is passed on; the supervisor then reports and ends, and the kernel kills its namespace.
    while True:
        signal.sigwait({signal.SIGCHLD, signal.SIGTERM})
        process, _ = os.waitpid(supervisor, os.WNOHANG)
        if process:
            return
        os.kill(supervisor, signal.SIGTERM)


if __name__ == "__main__":
    main()
