"""Hostile programs. Each prints a line that begins with "got" for everything that it should not have got.

They run in the sandbox with these names defined: SECRET, CANARY_FILES, OWN_FILES, FOLDERS, PORT, SOCKET, SERVICE (the
service's process), and the limits MEMORY, DISK and PROCESSES.
"""

import textwrap

_CALLS = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *(ctypes.c_long(a) for a in arguments))
    return result if result >= 0 else -ctypes.get_errno()
ARM = os.uname().machine == "aarch64"
"""

_MIB = """
MIB = 1024 * 1024
def touch(mapping):
    for offset in range(0, len(mapping), 4096):
        mapping[offset] = 1
"""


def _program(code, *parts):
    return "".join(parts) + textwrap.dedent(code)


ATTACKS = {
    "reads the service's home and the project": _program(
        """
        for path in [*CANARY_FILES, *OWN_FILES, "/etc/passwd", "/etc/hostname", "/etc/resolv.conf"]:
            try:
                print("got", path, open(path).read(20))
            except OSError:
                pass
        """
    ),
    "writes the service's files": _program(
        """
        import os
        for path in [*CANARY_FILES, *OWN_FILES]:
            try:
                with open(path, "a") as file:
                    file.write("# attacked")
                print("got", path)
            except OSError:
                pass
        for folder in FOLDERS:
            try:
                open(os.path.join(folder, "planted"), "w").close()
                print("got", folder)
            except OSError:
                pass
        """
    ),
    "replaces a folder of the service by its own": _program(
        """
        import os
        for folder in FOLDERS:
            try:
                os.rename(folder, folder + "-moved")
                print("got", folder)
            except OSError:
                pass
        """
    ),
    "looks for the secret in every environment": _program(
        """
        import glob, os
        texts = [str(os.environ)]
        for pattern in ("/proc/*/environ", "/proc/*/cmdline", "/proc/*/task/*/environ"):
            for path in glob.glob(pattern):
                try:
                    texts.append(open(path, errors="replace").read())
                except OSError:
                    pass
        if any("canary-" "secret" in text for text in texts):
            print("got the secret")
        """
    ),
    "looks for other variables": _program(
        """
        import os
        known = {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"}
        for name in os.environ.keys() - known:
            print("got", name)
        """
    ),
    "sees or signals processes of others": _program(
        """
        import os
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        if len(pids) > 4:
            print("got", len(pids), "processes")
        try:
            os.kill(SERVICE, 0)
            print("got the service's process")
        except OSError:
            pass
        try:
            if "canary" in os.readlink(f"/proc/{SERVICE}/cwd"):
                print("got its directory")
        except OSError:
            pass
        """
    ),
    "connects to a server on loopback": _program(
        """
        import socket
        for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
            try:
                socket.create_connection((host, PORT), 2)
                print("got", host)
            except OSError:
                pass
        """
    ),
    "connects to an abstract socket": _program(
        """
        import socket
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("\\0" + SOCKET)
                print("got", client.recv(9))
        except OSError:
            pass
        """
    ),
    "opens sockets that no network namespace holds": _program(
        """
        import socket
        for name, family, kind, protocol in (
            ("vsock", 40, socket.SOCK_STREAM, 0), ("alg", 38, socket.SOCK_SEQPACKET, 0),
            ("netlink", 16, socket.SOCK_RAW, 0), ("packet", 17, socket.SOCK_RAW, 0),
        ):
            try:
                socket.socket(family, kind, protocol).close()
                print("got", name)
            except OSError:
                pass
        """
    ),
    "opens a user namespace": _program(
        """
        if libc.unshare(0x10000000) == 0:
            status = open("/proc/self/status").read()
            print("got", status.partition("CapEff:")[2].split()[0])
        child = call(220 if ARM else 56, 0x10000000 | 17, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        if child > 0:
            print("got a child in a namespace")
        """,
        _CALLS,
    ),
    "mounts in a namespace of its own": _program(
        """
        libc.unshare(0x10000000 | 0x00020000)
        if libc.mount(b"none", b"/tmp", b"tmpfs", 0, b"") == 0:
            print("got a mount")
        if libc.mount(b"none", b"/usr", b"none", 32 | 4096, b"") == 0:
            print("got /usr writable")
        """,
        _CALLS,
    ),
    "makes calls that no submission needs": _program(
        """
        # name: (x86_64, aarch64, arguments); a call that reaches its own code answers something else.
        buffer = ctypes.addressof(ctypes.create_string_buffer(512))
        name = ctypes.addressof(ctypes.create_string_buffer(b"name"))
        for name, (x86, arm, *arguments) in {
            "ptrace": (101, 117, 0, 0, 0, 0),
            "keyctl": (250, 219, 0, -3, 1),
            "add_key": (248, 217, name, name, name, 4, -2),
            "bpf": (321, 280, 5, buffer, 120),
            "perf_event_open": (298, 241, buffer, 0, -1, -1, 0),
            "userfaultfd": (323, 282, 1),
            "io_uring_setup": (425, 425, 8, buffer),
            "process_vm_readv": (310, 270, os.getpid(), 0, 0, 0, 0, 0),
            "personality": (135, 92, 0xFFFFFFFF),
            "open_by_handle_at": (304, 265, -1, buffer, 0),
            "memfd_create": (319, 279, buffer, 0),
            "shmget": (29, 194, 0, 4096, 0o1600),
            "msgget": (68, 186, 0, 0o1600),
            "pidfd_getfd": (438, 438, -1, 0, 0),
            "kcmp": (312, 272, os.getpid(), os.getpid(), 0, 0, 0),
            "clone3": (435, 435, buffer, 0),
        }.items():
            answer = call(arm if ARM else x86, *arguments)
            if answer not in (-errno.EPERM, -errno.ENOSYS):
                print("got", name, answer)
        """,
        _CALLS,
    ),
    "makes calls of another architecture": _program(
        """
        if not ARM:
            import mmap, signal
            # mov eax, 20 (getpid of i386); int 0x80; ret
            code = bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3])
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(code)
            function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
            for name, action in (
                ("i386", function),
                ("x32", lambda: call(0x40000000 | 39)),
            ):
                child = os.fork()
                if child == 0:
                    os._exit(0 if action() > 0 else 3)
                if os.waitpid(child, 0)[1] == 0:
                    print("got", name)
        """,
        _CALLS,
    ),
    "types into a terminal": _program(
        """
        import fcntl
        try:
            fcntl.ioctl(0, 0x5412, b"x")
            print("got TIOCSTI")
        except OSError as error:
            if error.errno != errno.EPERM:
                print("got as far as the device:", error)
        """,
        _CALLS,
    ),
    "raises its limits": _program(
        """
        import resource
        for name in ("AS", "NPROC", "FSIZE", "CPU", "NOFILE", "CORE"):
            kind = getattr(resource, f"RLIMIT_{name}")
            if name != "CORE" and resource.getrlimit(kind)[1] == resource.RLIM_INFINITY:
                print("got", name)
            try:
                most = resource.getrlimit(kind)[1]
                resource.setrlimit(kind, (most + 1, most + 1))
                print("got", name)
            except (OSError, ValueError):
                pass
        """
    ),
    "becomes root": _program(
        """
        import os, subprocess
        for action in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            try:
                action()
                print("got it")
            except OSError:
                pass
        # A set-user-id program keeps what it is only without the no_new_privs flag.
        if "NoNewPrivs:\\t1" not in open("/proc/self/status").read():
            print("got set-user-id programs")
        """
    ),
    "writes kernel settings": _program(
        """
        import os
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory",
                     "/sys/kernel/uevent_helper", "/proc/1/oom_score_adj"):
            try:
                if "oom" in path:
                    continue
                os.close(os.open(path, os.O_WRONLY))
                print("got", path)
            except OSError:
                pass
        """
    ),
    "writes outside /tmp": _program(
        """
        import os
        for folder, folders, _ in os.walk("/"):
            if folder in ("/proc", "/tmp"):
                folders.clear()
                continue
            if folder.count("/") > 3:
                folders.clear()
            path = os.path.join(folder, "planted")
            try:
                open(path, "w").close()
                os.unlink(path)
                print("got", folder)
            except OSError:
                pass
        """
    ),
    "fills the disk": _program(
        """
        import os
        written = 0
        for place, folder in enumerate((".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/", "/dev")):
            for number in range(64):
                try:
                    with open(f"{folder}/fill-{os.getpid()}-{place}-{number}", "wb", buffering=0) as file:
                        for _ in range(16):
                            written += file.write(bytes(512 * 1024))
                except OSError:
                    break
        if written > DISK:
            print("got", written, "bytes")
        """
    ),
    "fills memory by many processes": _program(
        """
        import mmap, os, select, time
        ready, tell = os.pipe()
        waiting = set()
        for _ in range(64):
            try:
                child = os.fork()
            except OSError:
                break
            if child == 0:
                try:
                    touch(mmap.mmap(-1, 64 * MIB))
                    os.write(tell, b"x")
                    time.sleep(600)
                finally:
                    os._exit(1)
            waiting.add(child)
        filled = 0
        while filled < len(waiting):
            if select.select([ready], [], [], 0.1)[0]:
                filled += len(os.read(ready, 64))
            for child in list(waiting):
                if os.waitpid(child, os.WNOHANG)[0]:
                    waiting.remove(child)
        if len(waiting) * 64 * MIB > MEMORY:
            print("got", len(waiting), "x 64 MiB")
        """,
        _MIB,
    ),
    "fills memory that belongs to no process": _program(
        """
        import mmap
        held, files = 0, []
        for number in range(64):
            try:
                file = os.memfd_create("fill")
                files.append(file)
                for _ in range(16):
                    held += os.write(file, bytes(MIB))
            except (OSError, AttributeError):
                break
        for number in range(64):
            segment = libc.shmget(0, 16 * MIB, 0o1600)
            if segment < 0:
                break
            libc.shmat.restype = ctypes.c_void_p
            address = libc.shmat(segment, None, 0)
            if address in (None, ctypes.c_void_p(-1).value):
                break
            ctypes.memset(address, 1, 16 * MIB)
            libc.shmdt(ctypes.c_void_p(address))
            held += 16 * MIB
        if held > MEMORY:
            print("got", held)
        """,
        _CALLS,
        _MIB,
    ),
    "fills memory with names": _program(
        """
        made = 0
        try:
            for folder in range(400):
                os.mkdir(f"{folder}")
                for number in range(1_000):
                    os.mknod(f"{folder}/{number}")
                    made += 1
        except OSError:
            pass
        # An empty file is 0.6 KiB of the kernel's memory, and more with its name.
        if made * 600 > MEMORY:
            print("got", made, "files")
        """,
        _CALLS,
    ),
    "starts as many processes as it can": _program(
        """
        import os, signal, time
        made = []
        try:
            while len(made) < 4 * PROCESSES:
                child = os.fork()
                if child == 0:
                    time.sleep(600)
                made.append(child)
        except OSError:
            pass
        if len(made) > PROCESSES:
            print("got", len(made))
        """
    ),
    "keeps open what the service had open": _program(
        """
        import os
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if int(name) > 2 and "/fd" not in target and "main.py" not in target:
                print("got", name, target)
        """
    ),
    "takes over the sandbox's first process": _program(
        """
        import os, signal
        # Were it outside of the limits, code in it would be, too.
        limits = {line for line in open("/proc/1/limits") if line.startswith(("Max processes", "Max address"))}
        own = {line for line in open("/proc/self/limits") if line.startswith(("Max processes", "Max address"))}
        if limits != own:
            print("got", sorted(limits - own))
        status = open("/proc/1/status").read()
        if "Seccomp:\\t2" not in status:
            print("got a process without a filter")
        """
    ),
}
