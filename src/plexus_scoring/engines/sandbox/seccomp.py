"""The system calls that submitted code may not make, as a filter that libseccomp writes.

libseccomp is called through ctypes: its own Python binding is no package that a virtual environment can install.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
from typing import Any

LIBRARY = "libseccomp.so.2"

# Each reaches kernel code that a program of a submission never needs, or memory that no limit counts.
DENIED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("add_key", "keyctl", "request_key"),
    *(
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ),
    *(
        "mount",
        "umount2",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "pivot_root",
        "chroot",
    ),
    *("unshare", "setns"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("open_by_handle_at", "name_to_handle_at"),
    *(
        "personality",
        "swapon",
        "swapoff",
        "reboot",
        "quotactl",
        "quotactl_fd",
        "acct",
        "syslog",
        "vhangup",
        "lookup_dcookie",
        "fanotify_init",
    ),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname"),
    *("shmget", "msgget", "semget", "mq_open"),
    *("move_pages", "migrate_pages", "mbind", "set_mempolicy"),
)
X86_DENIED = ("iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs")
# Programs have another way where the kernel seems too old for these. `clone3` hides its flags from a filter;
# a memory file is memory that belongs to no process.
ABSENT = ("clone3", "memfd_create", "memfd_secret")

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ACT_BADARCH = 2
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_NAMESPACES = (
    0x00000080,  # CLONE_NEWTIME
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)
_CLONE_THREAD = 0x00010000
_TERMINAL_REQUESTS = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into the terminal
_32_BITS = 0xFFFFFFFF


class _Comparison(ctypes.Structure):
    """Is libseccomp's ``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Filter:
    """A filter that allows what no rule names, and kills a process that uses another architecture's calls."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(LIBRARY)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_release.restype = None
        context = self._library.seccomp_init(ctypes.c_uint32(_ALLOW))
        if not context:
            raise OSError(errno.ENOMEM, "libseccomp made no filter")
        self._context = ctypes.c_void_p(context)
        self._check(
            self._library.seccomp_attr_set(
                self._context, _ACT_BADARCH, ctypes.c_uint32(_KILL_PROCESS)
            )
        )

    def deny(self, call: str, error: int, *comparisons: _Comparison) -> None:
        """Add a rule. A call that this architecture does not have needs none."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        self._check(
            self._library.seccomp_rule_add_array(
                self._context,
                ctypes.c_uint32(_ERRNO | error),
                number,
                len(comparisons),
                (_Comparison * len(comparisons))(*comparisons),
            )
        )

    def program(self) -> bytes:
        """Return the filter as the kernel takes it, and free it."""
        file = os.memfd_create("plexus-seccomp")
        try:
            self._check(self._library.seccomp_export_bpf(self._context, file))
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)
            self._library.seccomp_release(self._context)

    @staticmethod
    def _check(code: int) -> None:
        if code < 0:
            raise OSError(-code, f"libseccomp: {os.strerror(-code)}")


@functools.cache
def filter_program(*, forks: bool = True) -> bytes:
    """Return the filter for ``bwrap --seccomp``; without `forks` it refuses new processes, but not threads.

    Raises:
        OSError: libseccomp is not installed or refuses a rule.
    """
    made = _Filter()
    for call in (*DENIED, *X86_DENIED):
        made.deny(call, errno.EPERM)
    for call in ABSENT:
        made.deny(call, errno.ENOSYS)
    for flag in _NAMESPACES:
        made.deny("clone", errno.EPERM, _Comparison(0, _MASKED_EQUAL, flag, flag))
    for request in _TERMINAL_REQUESTS:
        made.deny("ioctl", errno.EPERM, _Comparison(1, _MASKED_EQUAL, _32_BITS, request))
    # A network namespace does not hold AF_VSOCK and AF_ALG; nothing listens on the others.
    for call in ("socket", "socketpair"):
        other_families = _Comparison(0, _NOT_EQUAL, socket.AF_UNIX, 0)
        made.deny(call, errno.EAFNOSUPPORT, other_families)
    if not forks:
        made.deny("clone", errno.EAGAIN, _Comparison(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
        for call in ("fork", "vfork"):
            made.deny(call, errno.EAGAIN)
    return made.program()
