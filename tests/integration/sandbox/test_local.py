"""The local sandbox with real processes: bounds, isolation, and that nothing is left behind."""

import asyncio
import contextlib
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

from plexus_scoring.engines.sandbox import bounds, bubblewrap, confinement
from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.cgroup import PREFIX
from plexus_scoring.engines.sandbox.local import LocalSandbox
from plexus_scoring.engines.sandbox.root import WORK
from plexus_scoring.engines.sandbox.run import run_file
from plexus_scoring.model.errors import ConfigurationError, InvalidRequest
from tests.support.sandbox import require_confinement, service_of_this_user

ROOT = pathlib.Path(__file__).parents[3]
MARK = f"sandbox-test-{os.getpid()}"
EVERYTHING = "network ipc files processes privileges syscalls memory disk"
TEMPORARY = pathlib.Path(tempfile.gettempdir())


@pytest.fixture(autouse=True, scope="module")
def _confined():
    require_confinement()


def marked():
    """Return the processes of the sandboxes of this test run, the tools that set them up among them."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if MARK.encode() in words:
                found[int(path.parent.name)] = words
    return found


def running():
    """Return whether the program itself runs."""
    return any(words[0] == b"python3" for words in marked().values())


def left():
    """Return what sandboxes have left: directories, control groups, mounts."""
    groups = pathlib.Path("/sys/fs/cgroup").rglob(f"{PREFIX}{os.getpid()}-*")
    return {*TEMPORARY.glob("plexus-sandbox-*"), *groups}


@pytest.fixture
def marker():
    """Return a directory in the temporary directory that anyone may look into."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="plexus-test-"))
    made.chmod(0o755)
    yield made
    made.rmdir()


async def run(code, *, seconds=60.0, stdin="", **limits):
    async with LocalSandbox().open({"main.py": textwrap.dedent(code).encode()}) as workspace:
        return await workspace.run(
            ["python3", "main.py", MARK],
            stdin=stdin,
            limits=SandboxLimits(seconds=seconds, **limits),
        )


async def test_a_program_reads_prints_and_ends():
    result = await run(
        """
        import sys
        print(sys.stdin.read().upper())
        print("careful", file=sys.stderr)
        sys.exit(3)
        """,
        stdin="héllo",
    )
    assert (result.exit_code, result.stdout, result.stderr) == (3, "HÉLLO\n", "careful\n")
    assert not result.timed_out
    assert result.cpu_seconds > 0
    assert result.peak_memory_bytes is None or 0 < result.peak_memory_bytes < 200_000_000


async def test_a_signal_is_told_as_shells_do():
    assert (await run("import os; os.abort()")).exit_code == 128 + 6


async def test_nothing_of_our_environment_is_there(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = await run(
        """
        import glob, os
        print(sorted(os.environ))
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                print(b"sk-secret" in open(path, "rb").read())
            except OSError:
                pass
        """
    )
    assert "OPENAI_API_KEY" not in result.stdout
    assert "True" not in result.stdout


async def test_it_is_another_user_without_a_way_back():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    result = await run("import os; print(os.getuid(), os.getgid(), os.getgroups()); os.setuid(0)")
    assert "user" in result.isolation
    assert result.stdout == "65534 65534 []\n"
    assert "Invalid argument" in result.stderr  # user 0 does not exist there


async def test_there_is_no_network():
    result = await run(
        """
        import socket
        socket.create_connection(("192.0.2.1", 80), 2)
        """
    )
    assert "network" in result.isolation
    assert "Address family not supported" in result.stderr


async def test_it_sees_no_files_of_others_and_leaves_none(marker):
    before = left()
    result = await run(
        f"""
        import os, pathlib
        print(os.path.exists({str(marker)!r}))
        pathlib.Path("left.txt").write_text("x")
        """
    )
    assert "files" in result.isolation
    assert result.stdout == "False\n"
    assert left() <= before


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(600)",
        "import signal, time\nfor n in (15, 2, 1): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)",
    ],
)
async def test_time_is_bounded(code):
    result = await run(code, seconds=0.5)
    assert result.timed_out
    assert result.exit_code is None


async def test_memory_is_bounded():
    result = await run("x = bytearray(2 * 10**9)", memory_bytes=300_000_000)
    assert "MemoryError" in result.stderr


async def test_output_is_bounded():
    result = await run("while True: print('x' * 1000)", output_bytes=10_000)
    assert result.output_exceeded
    assert len(result.stdout) == 10_000


async def test_files_are_bounded():
    result = await run(
        "for n in range(99): open(str(n), 'wb').write(bytes(10**6))", disk_bytes=3_000_000
    )
    assert result.exit_code != 0


async def test_processes_are_bounded():
    result = await run(
        """
        import os, time
        for made in range(200):
            if os.fork() == 0:
                time.sleep(60)
        """,
        processes=20,
    )
    assert "BlockingIOError" in result.stderr


async def test_what_it_started_dies_with_it():
    # A daemon: a session of its own, its parent gone.
    result = await run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(3): os.close(number)
                time.sleep(86399)
            os._exit(0)
        os.wait()
        """
    )
    assert result.exit_code == 0
    assert not marked()


async def test_cancelling_ends_the_program_and_removes_its_files():
    before = left()
    task = asyncio.create_task(run("import time; time.sleep(600)", seconds=600))
    while not running():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not marked()
    assert left() <= before


async def test_cancelling_at_any_moment_of_the_start_leaves_nothing():
    before = left()
    for turns in range(40):
        task = asyncio.create_task(run("import time; time.sleep(600)", seconds=600))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not marked()
    assert left() <= before


def test_a_killed_service_leaves_no_process():
    with service_of_this_user() as service:
        service.ask(
            "import time; time.sleep(600)", command=["python3", "main.py", MARK], seconds=600
        )
        while not running():
            time.sleep(0.01)
        ends = [os.pidfd_open(process) for process in marked()]
        service.process.send_signal(signal.SIGKILL)
        for end in ends:
            select.select([end], [], [])
            os.close(end)
        assert not marked()
        group = f"{PREFIX}{service.process.pid}-*"
    # What a killed service cannot remove, the next one does.
    asyncio.run(run("pass"))
    assert not list(pathlib.Path("/sys/fs/cgroup").rglob(group))


def test_a_killed_service_leaves_no_process_that_has_left_its_session():
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(600)
"""
    with service_of_this_user() as service:
        service.ask(code, command=["python3", "main.py", MARK], seconds=600)
        while sum(words[0] == b"python3" for words in marked().values()) < 2:
            time.sleep(0.01)
        ends = [os.pidfd_open(process) for process in marked()]
        service.process.send_signal(signal.SIGKILL)
        for end in ends:
            select.select([end], [], [])
            os.close(end)
    assert not marked()


async def test_files_are_no_files_of_this_machine():
    if os.geteuid() != 0:
        pytest.skip("only root can try as another user")
    task = asyncio.create_task(run("import time; time.sleep(600)", seconds=600))
    while not running():
        await asyncio.sleep(0.01)
    assert not [path for path in left() if path.is_relative_to(TEMPORARY)]
    other = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
    for process in marked():
        for path in (f"root{WORK}/main.py", "cwd/main.py"):
            done = await asyncio.to_thread(
                subprocess.run,
                [*other, "cat", f"/proc/{process}/{path}"],
                capture_output=True,
                check=False,
            )
            assert done.returncode != 0
            assert b"sleep" not in done.stdout
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_a_program_writes_first_is_its_own():
    result = await run(r"import sys; sys.stderr.write('\1\1first')")
    assert result.stderr == "\1\1first"


async def test_input_of_any_size_is_handed_over():
    result = await run("import sys; print(len(sys.stdin.read()))", stdin="x" * 3_000_000)
    assert result.stdout == "3000000\n"


async def test_input_that_nobody_reads_is_no_hindrance():
    assert (await run("print(1)", stdin="x" * 3_000_000)).stdout == "1\n"


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["perl", "-e", "print 6 * 7"], "42"),
        (["awk", "BEGIN { print 6 * 7 }"], "42\n"),
        (["node", "-e", "console.log(6 * 7)"], "42\n"),
        (["sh", "-c", "echo $((6 * 7)) | cat | cat"], "42\n"),
    ],
)
async def test_languages_of_the_system_run(command, output):
    if shutil.which(command[0], path="/usr/bin") is None:
        pytest.skip(f"apt-get install {command[0]}, to see it run in the sandbox")
    async with LocalSandbox().open({}) as workspace:
        result = await workspace.run(command)
    assert (result.exit_code, result.stdout) == (0, output), result.stderr


async def test_modules_semaphores_and_threads_work():
    code = """
import multiprocessing, threading, tempfile, ssl, sqlite3, helper
lock = multiprocessing.Lock()
threads = [threading.Thread(target=lambda: None) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with tempfile.TemporaryFile() as file: file.write(b"x")
print(helper.ANSWER, open("data/x.txt").read())
"""
    files = {"main.py": code.encode(), "helper.py": b"ANSWER = 42", "data/x.txt": b"x"}
    async with LocalSandbox().open(files) as workspace:
        result = await workspace.run(["python3", "main.py"])
    assert (result.exit_code, result.stdout) == (0, "42 x\n"), result.stderr


async def test_commands_do_not_see_each_other():
    async with LocalSandbox().open({"a.sh": b"ls; echo x > made"}) as workspace:
        first = await workspace.run(["sh", "a.sh"])
        second = await workspace.run(["sh", "a.sh"])
    assert first.stdout == second.stdout == "a.sh\n"


async def test_a_command_that_is_not_there_is_named():
    async with LocalSandbox().open({}) as workspace:
        result = await workspace.run(["no-such-language"])
    assert result.exit_code == 127
    assert "no-such-language" in result.stderr


async def test_a_path_that_climbs_out_is_refused():
    with pytest.raises(InvalidRequest):
        async with LocalSandbox().open({"../x": b""}):
            pass


async def test_run_file(tmp_path):
    program = tmp_path / "hello.sh"
    program.write_text("#!/bin/sh\necho hello $1\n")
    result = await run_file(program, kind="local", arguments=["you"])
    assert result.stdout == "hello you\n"


PROBE = """
import asyncio
from plexus_scoring.engines.sandbox.local import LocalSandbox

async def main():
    async with LocalSandbox().open({"a.sh": b"id -u"}) as workspace:
        result = await workspace.run(["sh", "a.sh"])
    print(result.exit_code, result.stdout.strip(), *result.isolation)

try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__, error)
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# A user in a namespace that may hold no further ones, without capabilities: as in most containers.
NO_NAMESPACES = """
echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""
IN_A_CONTAINER = (
    *("unshare", "-U", "--map-user=65534", "--map-group=65534", "--keep-caps"),
    *("sh", "-c", NO_NAMESPACES, "sh"),
)


def probe(*prefix, **environ):
    """Run PROBE with fewer rights, by an interpreter that other users can reach."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None or os.geteuid() != 0:
        pytest.skip("needs root, and a Python outside root's own directory")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [*prefix, python, "-c", PROBE],
        env={
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT / 'src'}:{packages}",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.stdout.strip() or done.stderr


def test_without_root_the_kernel_s_user_namespaces_do():
    assert probe(*NOBODY) == f"0 65534 {EVERYTHING}"


def test_root_becomes_another_user_also_without_its_capabilities():
    told = probe("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert told == f"0 65534 {EVERYTHING} user"


def test_without_user_namespaces_nothing_runs_unless_told_to():
    refused = probe(*IN_A_CONTAINER)
    assert refused.startswith(
        "ConfigurationError submitted code cannot be confined on this machine: user namespaces are not allowed"
    )
    assert "PLEXUS_SANDBOX_ALLOW_WEAK" in refused
    assert "\n" not in refused
    # The kernel's own words are Python's default, so that one warning is on standard error.
    assert probe(*IN_A_CONTAINER, PLEXUS_SANDBOX_ALLOW_WEAK="1").split()[:2] == ["0", "65534"]


@pytest.fixture
def unknown(monkeypatch):
    """Forget what holds, before and after."""
    monkeypatch.setattr(confinement, "_found", None)


async def test_without_bubblewrap_nothing_runs(unknown, monkeypatch):
    monkeypatch.setattr(
        shutil, "which", lambda tool, path=None: None if tool == "bwrap" else f"/bin/{tool}"
    )
    with pytest.raises(
        ConfigurationError, match="bwrap is not installed: apt-get install bubblewrap"
    ):
        await run("pass")
    before = left()
    async with LocalSandbox(allow_weak=True).open({"a/main.py": b"print(6 * 7)"}) as workspace:
        result = await workspace.run(["python3", "-I", "a/main.py"])
        endless = await workspace.run(
            ["sh", "-c", "sleep 600; exit", MARK], limits=SandboxLimits(seconds=0.5)
        )
    assert set(result.isolation) <= {"user", "memory"}
    assert endless.timed_out
    assert not marked()
    assert left() <= before


async def test_root_without_control_groups(unknown, monkeypatch):
    monkeypatch.setattr(bubblewrap, "make_group", lambda **_: None)
    result = await run(
        "import resource as r; print(r.getrlimit(r.RLIMIT_AS)[0] * r.getrlimit(r.RLIMIT_NPROC)[0])"
    )
    assert set(EVERYTHING.split()) <= set(result.isolation)
    assert int(result.stdout) <= SandboxLimits().memory_bytes


async def test_a_program_of_many_threads_is_a_single_process_without_control_groups(monkeypatch):
    monkeypatch.setattr(bubblewrap, "make_group", lambda **_: None)
    monkeypatch.setattr(bounds, "THREADED", {"python3"})
    result = await run(
        """
        import os, resource, subprocess, threading
        over = threading.Event()
        threads = [threading.Thread(target=over.wait, daemon=True) for _ in range(6)]
        for thread in threads: thread.start()
        over.set()
        for action in (os.fork, lambda: subprocess.run(["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {})):
            try:
                action()
                print("got a process")
            except OSError as error:
                print(error.strerror)
        print(resource.getrlimit(resource.RLIMIT_AS)[0])
        """,
        seconds=60.0,
    )
    assert result.exit_code == 0, result
    *told, address_space = result.stdout.splitlines()
    assert told == ["Resource temporarily unavailable"] * 3
    assert int(address_space) + SandboxLimits().disk_bytes <= SandboxLimits().memory_bytes


def descriptors():
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_is_left_open(unknown):
    await run("pass")
    before = descriptors()
    for _ in range(3):
        await run("print(1)")
    async with LocalSandbox().open({}) as workspace:
        await workspace.run(["no-such-program"])
        await workspace.run(["sleep", "600"], limits=SandboxLimits(seconds=0.1))
    assert descriptors() == before


async def test_without_the_filter_nothing_runs(unknown, monkeypatch, caplog):
    def no_library(**_):
        raise OSError("libseccomp.so.2: cannot open shared object file")

    monkeypatch.setattr(confinement, "filter_program", no_library)
    with pytest.raises(ConfigurationError, match="apt-get install libseccomp2"):
        await run("pass")
    for _ in range(2):
        async with LocalSandbox(allow_weak=True).open({}) as workspace:
            result = await workspace.run(["true"])
    assert result.exit_code == 0
    assert "network" in result.isolation
    assert "syscalls" not in result.isolation
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("option", "instead", "missing"),
    [
        ("--unshare-all", ["--unshare-ipc", "--unshare-pid", "--unshare-uts"], "network"),
        ("--unshare-all", ["--unshare-net", "--unshare-pid", "--unshare-uts"], "ipc"),
        ("--clearenv", ["--setenv", "CANARY", "x"], "files"),
        ("--unshare-all", ["--bind", "/var", "/var", "--unshare-all"], "files"),
    ],
)
async def test_what_does_not_hold_is_not_told(unknown, monkeypatch, option, instead, missing):
    made = bubblewrap._options

    def weaker(held):
        options = made(held)
        place = options.index(option)
        return [*options[:place], *instead, *options[place + 1 :]]

    monkeypatch.setattr(bubblewrap, "_options", weaker)
    with pytest.raises(ConfigurationError, match=f"does not hold: {missing}"):
        await run("pass")
    async with LocalSandbox(allow_weak=True).open({}) as workspace:
        result = await workspace.run(["true"])
    assert missing not in result.isolation
