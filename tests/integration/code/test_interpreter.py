"""The pool of workers: bounded, warm, replaced when one dies, gone when it is closed."""

import asyncio
import builtins
import os
import signal
from pathlib import Path

import pytest

from plexus_scoring.engines.portable.code import CodePlace, CodeRaised, Interpreter, function_of
from plexus_scoring.engines.portable.code import ready as ready_sessions
from plexus_scoring.engines.portable.code.errors import WorkerDied
from plexus_scoring.engines.portable.code.interpreter import PROCESSES
from plexus_scoring.engines.portable.code.program import ACCOUNT
from plexus_scoring.engines.portable.code.ready import _PROCESSES as READY_PROCESSES
from plexus_scoring.engines.portable.code.ready import READY
from plexus_scoring.engines.portable.code.source import LACKING_BUILTINS
from plexus_scoring.model.errors import BudgetExceeded, ConfigurationError

GIVEN = {"parameters": {}, "text": "item", "metadata": {}, "state": {}}
ECHO = "def f(context):\n    return context['text']"
FOREVER = "def f(context):\n    print('started')\n    while True:\n        pass"


def workers():
    """Return the interpreter's processes below this one."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                if Path(f"/proc/{pid}/comm").read_text().strip() == "monty" and state != "Z":
                    found.append(int(pid))
            except OSError:
                continue
    return found


def seen_by(pid):
    """Return a process's environment and what its files are."""
    files = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return Path(f"/proc/{pid}/environ").read_bytes(), files


def make(interpreter, code=ECHO, name="Tone"):
    return function_of(code, "f", place=CodePlace(name), interpreter=interpreter, with_state=True)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)


async def ready(interpreter, function):
    """Wait until the function's session is open."""
    owner = ("", function._program)
    await until(lambda: owner in interpreter._ready._open)


async def test_lint_knows_which_builtins_the_interpreter_lacks(interpreter):
    async def has(name):
        if name in ("True", "False", "None", "__debug__"):
            return True
        function = make(interpreter, f"def f(context):\n    {name}\n    return 'there'", name)
        try:
            return (await function(GIVEN)).value == "there"
        except CodeRaised:
            return False

    missing = {name for name in dir(builtins) if not await has(name)}
    assert missing == LACKING_BUILTINS & set(dir(builtins))


async def test_workers_are_bounded_warm_and_end_with_the_pool(interpreter):
    functions = [make(interpreter, name=f"c{number}") for number in range(9)]
    before = len(workers())
    most = PROCESSES + READY_PROCESSES
    for count in (1, 9, 3):
        some = functions[:count]
        answers = await asyncio.gather(*(function(GIVEN) for function in some * 4))
        assert {answer.value for answer in answers} == {"item"}
        assert len(workers()) - before <= most
    for function in functions * 2:
        assert (await function(GIVEN)).value == "item"
    assert len(interpreter._ready._open) <= READY
    await interpreter.aclose()
    await interpreter.aclose()
    await until(lambda: len(workers()) == before)
    assert (await functions[0](GIVEN)).value == "item"  # it starts again


async def test_quick_calls_share_a_session_and_slow_ones_leave_the_loop(interpreter, monkeypatch):
    slow = []
    call = interpreter._call

    async def noting(*args):
        slow.append(1)
        return await call(*args)

    monkeypatch.setattr(interpreter, "_call", noting)
    code = (
        "def f(context):\n    for i in range(context['metadata']['n']):\n        pass\n    return 1"
    )
    function = make(interpreter, code)
    for _ in range(2):
        await function(GIVEN | {"metadata": {"n": 1}})
        await ready(interpreter, function)
    slow.clear()
    assert (await function(GIVEN | {"metadata": {"n": 1}})).value == 1
    assert slow == []
    assert (await function(GIVEN | {"metadata": {"n": 3_000_000}})).value == 1
    assert slow == [1]
    assert (await function(GIVEN | {"metadata": {"n": 1}})).value == 1
    assert slow == [1, 1]


async def test_a_session_is_of_one_account_and_one_program_and_is_replaced(
    interpreter, monkeypatch
):
    monkeypatch.setattr(ready_sessions, "MAX_CALLS", 3)
    code = "seen = []\ndef f(context):\n    seen.append(context['text'])\n    return seen"
    functions = [make(interpreter, code, name) for name in ("one", "two")]
    found = {}
    for turn in range(12):
        for account in ("a", "b"):
            for number, function in enumerate(functions):
                text = f"{account}{number}{turn}"
                token = ACCOUNT.set(account)
                try:
                    seen = (await function(GIVEN | {"text": text})).value
                finally:
                    ACCOUNT.reset(token)
                await until(lambda: not interpreter._ready._pending)
                assert seen[-1] == text
                found.setdefault(len(seen), []).append(seen)
                assert {one[:2] for one in seen} == {text[:2]}
    assert max(found) == 3


async def test_what_runs_out_of_memory_in_a_used_session_gets_one_of_its_own(interpreter):
    code = "kept = []\ndef f(context):\n    kept.append('x' * 30_000_000)\n    return len(kept)"
    function = make(interpreter, code)
    for _ in range(12):
        assert (await function(GIVEN)).value >= 1
        await until(lambda: not interpreter._ready._pending)


async def test_workers_have_no_environment_and_only_their_pipes(interpreter, monkeypatch):
    monkeypatch.setenv("CANARY", "secret")
    await make(interpreter)(GIVEN)
    assert workers()
    for pid in workers():
        environment, files = seen_by(pid)
        assert environment == b""
        assert not [file for file in files if file.startswith("socket:")]


async def test_a_worker_killed_in_the_middle_of_a_call_costs_nothing(interpreter, monkeypatch):
    function = make(
        interpreter, "def f(context):\n    for i in range(3_000_000):\n        pass\n    return i"
    )
    await make(interpreter)(GIVEN)
    feed, called, loop = interpreter._feed, asyncio.Event(), asyncio.get_running_loop()

    def noting(session, code, place, inputs=None):
        if inputs is not None:
            loop.call_soon_threadsafe(called.set)
        return feed(session, code, place, inputs)

    monkeypatch.setattr(interpreter, "_feed", noting)
    running = asyncio.create_task(function(GIVEN))
    await called.wait()
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    assert (await running).value == 2_999_999


async def test_a_worker_that_always_dies_is_the_codes_fault(interpreter, monkeypatch):
    function = make(interpreter)

    def dies(*_, **__):
        raise WorkerDied("signal 11")

    monkeypatch.setattr(interpreter, "_feed", dies)
    with pytest.raises(BudgetExceeded, match="Tone: stopped, the interpreter ended twice"):
        await function(GIVEN)


async def test_a_cancelled_call_frees_its_worker(interpreter):
    functions = [make(interpreter, FOREVER, f"c{number}") for number in range(PROCESSES)]
    running = [asyncio.create_task(function(GIVEN)) for function in functions]
    await until(lambda: len(workers()) >= PROCESSES)
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    assert (await make(interpreter)(GIVEN)).value == "item"


def test_an_engine_outlives_its_event_loop():
    interpreter = Interpreter()
    function = make(interpreter)
    for _ in range(3):
        assert asyncio.run(function(GIVEN)).value == "item"
    asyncio.run(interpreter.aclose())


async def test_a_missing_program_is_one_line_that_says_what_to_do(interpreter, monkeypatch):
    monkeypatch.setenv("MONTY_BIN", "/nonexistent/monty")
    with pytest.raises(ConfigurationError, match=r"cannot start.*MONTY_BIN"):
        await make(interpreter)(GIVEN)


async def test_sleeping_costs_nothing(interpreter):
    code = "import time\ndef f(context):\n    for _ in range(500):\n        time.sleep(3600)\n    return 1"
    assert (await make(interpreter, code)(GIVEN)).value == 1


async def test_a_hundred_calls_at_once_all_end(interpreter):
    function = make(interpreter)
    given = [GIVEN | {"text": f"{number}" * 1_000} for number in range(100)]
    answers = await asyncio.gather(*(function(one) for one in given))
    assert [answer.value for answer in answers] == [one["text"] for one in given]
