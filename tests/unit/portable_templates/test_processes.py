"""The processes that render templates: what they can reach, how they end, and what goes on meanwhile."""

import asyncio
import os
import pathlib
import pickle
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.engines.portable.templates import Template, pool, worker
from plexus_scoring.engines.portable.templates.pool import Pool, Process
from plexus_scoring.model.errors import BudgetExceeded, EngineUnavailable

ENDLESS = Template("{% for i in range(10 ** 12) %}{% endfor %}")
COMPUTED = Template("{{ text|upper }}")
VALUES = {"text": "hello"}
HOUR = 3600.0
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")


@pytest.fixture
def processes(monkeypatch):
    """Every process that is started, in order."""
    started = []

    class Recorded(Process):
        def __init__(self):
            super().__init__()
            started.append(self)

    monkeypatch.setattr(pool, "Process", Recorded)
    return started


@pytest.fixture
def patient():
    """A pool that stops nothing by time."""
    made = Pool(size=2, seconds=HOUR)
    yield made
    made.close()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def start(template, patient):
    return asyncio.create_task(template.render(VALUES, missing="empty", pool=patient))


async def test_the_event_loop_goes_on_while_templates_do_not_end(processes, patient):
    tasks = [start(ENDLESS, patient) for _ in range(20)]
    await until(lambda: len(processes) == 2)
    for _ in range(500):  # each turn would wait for a template that held the loop
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for process in processes[:2]:
        assert await asyncio.to_thread(process._process.wait) == -signal.SIGKILL
    assert await start(COMPUTED, patient) == "HELLO"


async def test_a_warm_process_renders_the_next_template_and_knows_nothing_of_the_last(
    processes, patient
):
    spoil = Template(
        "{% set range = 1 %}{% set _ = results.update({'a': 2}) if false %}{% macro dict() %}x{% endmacro %}{{ range }}"
    )
    read = Template("{{ range(2)|list }} {{ dict(a=1) }} {{ results|default('gone') }} {{ _ }}")
    for _ in range(3):
        values = {"results": {"a": 1}}
        assert await spoil.render(values, missing="empty", pool=patient) == "1"
        assert await read.render({}, missing="empty", pool=patient) == "[0, 1] {'a': 1} gone "
    assert len(processes) == 1


async def test_a_process_that_somebody_kills_is_replaced_and_the_answer_is_given(
    processes, patient
):
    await start(COMPUTED, patient)
    os.kill(processes[0].pid, signal.SIGSTOP)
    task = start(COMPUTED, patient)
    await until(lambda: not patient._idle)
    os.kill(processes[0].pid, signal.SIGKILL)
    assert await task == "HELLO"
    assert len(processes) == 2


@LINUX
async def test_a_template_whose_process_dies_twice_fails(processes, patient):
    task = start(ENDLESS, patient)
    for number in range(2):
        await until(lambda: len(processes) == number + 1)  # noqa: B023 - awaited before the next
        os.kill(processes[number].pid, signal.SIGKILL)
    with pytest.raises(BudgetExceeded, match="ended with the exit code -9"):
        await task
    assert len(processes) == 2


async def test_memory_that_earlier_templates_left_is_not_the_next_ones_fault(processes, patient):
    await start(COMPUTED, patient)
    processes[0].ask = lambda *_: (_ for _ in ()).throw(pool.ProcessEnded(worker.OUT_OF_MEMORY))
    assert await start(COMPUTED, patient) == "HELLO"
    assert len(processes) == 2


async def test_a_template_that_takes_too_much_memory_has_one_fresh_process(processes, patient):
    task = Template("{{ ('x' * 10 ** 9)|length }}").render({}, missing="empty", pool=patient)
    with pytest.raises(BudgetExceeded, match="more than 256 MiB of memory"):
        await task
    assert len(processes) == 1
    assert processes[0]._process.returncode == worker.OUT_OF_MEMORY


def test_a_pool_belongs_to_no_event_loop(processes, patient):
    async def one():
        return await COMPUTED.render(VALUES, missing="empty", pool=patient)

    assert [asyncio.run(one()) for _ in range(3)] == ["HELLO"] * 3
    assert len(processes) == 1


async def test_closing_the_engine_ends_the_processes(processes):
    engine = PortableEngine(ModelRouter())
    pool.POOL.close()
    assert await COMPUTED.render(VALUES, missing="empty") == "HELLO"
    await engine.aclose()
    assert processes[0]._process.returncode == -signal.SIGKILL


async def test_an_interpreter_that_does_not_start_is_an_error_that_may_pass(monkeypatch, patient):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineUnavailable, match=r"did not start .exit code 1.: run /bin/false"):
        await start(COMPUTED, patient)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineUnavailable, match=r"could be started: .*No such file"):
        await start(COMPUTED, patient)


@LINUX
async def test_a_process_inherits_nothing_and_is_bounded(monkeypatch, processes, patient):
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with socket.socket() as other, socket.socket() as another:
        os.set_inheritable(other.fileno(), True)
        os.set_inheritable(another.fileno(), True)
        await start(COMPUTED, patient)
    place = pathlib.Path(f"/proc/{processes[0].pid}")
    assert (place / "environ").read_bytes() == b""
    assert b"canary" not in (place / "cmdline").read_bytes()
    assert sorted(file.name for file in (place / "fd").iterdir()) == ["0", "1", "2"]
    assert (place / "cwd").readlink() == pathlib.Path("/")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split()[0] != "0"
    limits = (place / "limits").read_text()
    for name in ("Max open files", "Max processes", "Max file size", "Max core file size"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line[len(name) :].split()[:2] == ["0", "0"], line


class Escape:
    """What code could do that had found a way out of Jinja2's sandbox."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        guarded = (
            "try:\n out = " + self.code + "\n"
            "except BaseException as error:\n out = type(error).__name__ + ': ' + str(error)"
        )
        return eval, (f"[exec({guarded!r}, kept := {{}}), str(kept['out'])][1]",)


@LINUX
@pytest.mark.parametrize(
    "code",
    [
        "open({home!r}).read()",
        "__import__('os').listdir({folder!r})",
        "__import__('os').open({home!r}, 0)",
        "open({home!r}, 'w')",
        "__import__('os').rename({home!r}, {home!r} + '2')",
        "__import__('os').unlink({home!r})",
        "__import__('os').chmod({home!r}, 0)",
        "__import__('os').stat({home!r})",
        "__import__('os').fork()",
        "__import__('os').execv('/bin/sh', ['sh'])",
        "__import__('os').posix_spawn('/bin/sh', ['sh'], {{}})",
        "__import__('_thread').start_new_thread(print, ())",
        "__import__('os').kill({parent}, 0)",
        "__import__('os').kill(1, 9)",
        "__import__('os').pipe()",
        "__import__('os').dup(0)",
        "__import__('os').setuid(0)",
        "__import__('resource').setrlimit(6, (100, 100))",
        "__import__('resource').prlimit({parent}, 0, (1, 1))",
        "__import__('ctypes').CDLL(None, use_errno=True).ptrace(16, {parent}, 0, 0) == 0 or 1 / 0",
        "__import__('ctypes').CDLL(None).syscall(41, 2, 1, 0) == -1 and 1 / 0",
    ],
)
async def test_what_gets_out_of_the_sandbox_gets_nowhere(tmp_path, code, escaped):
    canary = tmp_path / "credentials"
    canary.write_text("canary")
    canary.chmod(0o666)
    places = {"home": str(canary), "folder": str(tmp_path), "parent": os.getpid()}
    answer = await escaped(code.format(**places))
    assert answer.split(":")[0] in (
        "PermissionError", "OSError", "FileNotFoundError", "RuntimeError", "ZeroDivisionError", "ValueError",
        "ModuleNotFoundError", "BlockingIOError",
    )  # fmt: skip
    assert canary.read_text() == "canary"
    assert canary.stat().st_mode & 0o777 == 0o666


@LINUX
async def test_what_gets_out_of_the_sandbox_finds_no_secret(monkeypatch, escaped):
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert set((await escaped("list(__import__('os').environ)"))[1:-1].split(", ")) <= {
        "",
        "'LC_CTYPE'",
    }
    modules = await escaped("[name for name in __import__('sys').modules if 'plexus' in name]")
    assert modules == "[]"


@pytest.fixture
def escaped(patient, monkeypatch):
    async def run(code):
        request = pickle.dumps(("{{ out|string }}", False, {"out": Escape(code)}))
        monkeypatch.setattr(pool, "_packed", lambda _: request)
        return await start(COMPUTED, patient)

    return run


def processor_time(pid):
    """The process's time in user mode, in ticks."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


@LINUX
def test_a_process_ends_with_the_service():
    service = (
        "import asyncio, sys\n"
        "from plexus_scoring.engines.portable.templates import Template, pool\n"
        "class Told(pool.Process):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        print(self.pid, flush=True)\n"
        "pool.Process = Told\n"
        "template = Template('{% for i in range(10 ** 12) %}{% endfor %}')\n"
        "asyncio.run(template.render({}, missing='empty', pool=pool.Pool(seconds=3600)))\n"
    )
    with subprocess.Popen([sys.executable, "-c", service], stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        watched = os.pidfd_open(pid)
        begun = processor_time(pid)
        while processor_time(pid) < begun + 10:  # it waited for its request, and now it renders
            time.sleep(0.01)
        process.kill()
    try:
        select.select([watched], [], [])  # readable once it has ended
    finally:
        os.close(watched)
