"""The local sandbox with real processes: bounds, isolation, and that nothing is left behind."""

import asyncio
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap

import pytest

from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.local import LocalSandbox
from plexus_scoring.engines.sandbox.run import run_file
from plexus_scoring.model.errors import ConfigurationError, InvalidRequest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="namespaces and rlimits are Linux's"
)
ROOT = pathlib.Path(__file__).parents[3]


TEMPORARY = pathlib.Path(tempfile.gettempdir())


def workspaces():
    return set(TEMPORARY.glob("plexus-sandbox-*"))


def command_lines():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found


@pytest.fixture
def marker():
    """Return a directory in the temporary directory that anyone may look into."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="plexus-test-"))
    made.chmod(0o755)
    yield made
    made.rmdir()


@pytest.fixture
def namespaces():
    """Skip where neither root nor the kernel gives namespaces."""
    probe = subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False)
    if probe.returncode != 0 and os.geteuid() != 0:
        pytest.skip("this kernel gives users no namespaces")


@pytest.fixture
def own_files():
    """Skip where the interpreter lies in the temporary directory: what is hidden cannot be run."""
    if sys.executable.startswith("/tmp/"):
        pytest.skip("the sandbox cannot hide the temporary directory that its interpreter lies in")


async def run(code, *, seconds=5.0, stdin="", **limits):
    async with LocalSandbox().open({"main.py": textwrap.dedent(code).encode()}) as workspace:
        return await workspace.run(
            ["python3", "main.py"], stdin=stdin, limits=SandboxLimits(seconds=seconds, **limits)
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
    assert 0 < result.peak_memory_bytes < 200_000_000


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
    assert not result.stdout.startswith("0 ")
    assert "Operation not permitted" in result.stderr


async def test_there_is_no_network(namespaces):
    result = await run(
        """
        import socket
        socket.create_connection(("192.0.2.1", 80), 2)
        """
    )
    assert "network" in result.isolation
    assert "Network is unreachable" in result.stderr


async def test_it_sees_no_files_of_others_and_leaves_none(namespaces, own_files, marker):
    before = workspaces()
    result = await run(
        f"""
        import os, pathlib
        print(os.path.exists({str(marker)!r}))
        pathlib.Path("left.txt").write_text("x")
        """
    )
    assert "files" in result.isolation
    assert result.stdout == "False\n"
    assert workspaces() <= before


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
    assert result.seconds < 5


async def test_memory_is_bounded():
    result = await run("x = bytearray(2 * 10**9)", memory_bytes=300_000_000)
    assert "MemoryError" in result.stderr


async def test_output_is_bounded():
    result = await run("while True: print('x' * 1000)", output_bytes=10_000)
    assert result.output_exceeded
    assert len(result.stdout) == 10_000


async def test_files_are_bounded(namespaces, own_files):
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
    assert not [line for line in command_lines() if line == b"python3\0main.py\0"]


async def test_cancelling_ends_the_program_and_removes_its_files():
    before = workspaces()
    task = asyncio.create_task(run("import time; time.sleep(600)", seconds=60))
    while workspaces() <= before:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workspaces() <= before


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


def probe(*prefix, **environ):
    """Run PROBE with fewer rights, by an interpreter that other users can reach."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None or os.geteuid() != 0:
        pytest.skip("needs root, and a Python outside root's own directory")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [*prefix, python, "-c", PROBE],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'src'}:{packages}", **environ},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.stdout.strip() or done.stderr


def test_without_root_the_kernel_s_user_namespaces_do():
    told = probe("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert told == "0 65534 network ipc files processes"


def test_without_namespaces_another_user_does():
    told = probe("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    code, user, *isolation = told.split()
    assert code == "0"
    assert int(user) > 0
    assert isolation == ["user"]


def test_with_neither_nothing_runs_unless_told_to():
    # A user in a namespace that may hold no further ones, without capabilities: as in most containers.
    bare = "exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all"
    without = (
        *("unshare", "-U", "--map-user=65534", "--map-group=65534", "--keep-caps"),
        *("sh", "-c", f'echo 0 > /proc/sys/user/max_user_namespaces; {bare} "$@"', "sh"),
    )
    refused = probe(*without)
    assert refused.startswith(ConfigurationError.__name__)
    assert "PLEXUS_SANDBOX_ALLOW_WEAK" in refused
    assert probe(*without, PLEXUS_SANDBOX_ALLOW_WEAK="1") == "0 65534"
