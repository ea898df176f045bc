"""Faults on real servers, the short version; `make chaos` runs the same with 10,000 jobs and prints a table.

After each: every job COMPLETED or dead-lettered with a reason, exactly one result a job, every job answered at least
once, and no two answers that differ.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.support import brokers
from tests.support.chaos import Account, Chaos, chaos, every, finish

JOBS = int(os.environ.get("CHAOS_JOBS", "120"))
LONG = JOBS > 1_000
SECONDS = 45 + JOBS / 20
ROUNDS = JOBS // 500 if LONG else 2
BROKERS = ["rabbitmq", "redis", "sqs"]

pytestmark = pytest.mark.timeout(SECONDS + 45)

long_only = pytest.mark.skipif(not LONG, reason="`make chaos` runs it")

TABLE: list[tuple[str, str, Account]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest):
    yield
    if not LONG:
        return
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        lines = [
            "| fault | broker | jobs | completed | dead | results | responses | lost | s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {fault} | {kind} | {a.jobs} | {a.completed} | {a.dead} | {a.results} | {a.responses} "
            f"| {len(a.lost)} | {a.seconds:.0f} |"
            for fault, kind, a in TABLE
        ]
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


async def settled(fault: str, run: Chaos, began: float) -> Account:
    account = await finish(run, began, SECONDS)
    TABLE.append((fault, run.kind, account))
    return account


async def begin(
    run: Chaos, *, workers: int = 2, times: int = 1, malformed: int = 0, **env: str
) -> float:
    began = time.monotonic()
    for _ in range(workers):
        run.start_worker(**env)
    await run.submit(JOBS, times=times, malformed=malformed)
    await run.until_completed(JOBS // 10)
    return began


@pytest.mark.parametrize("kind", BROKERS)
async def test_kill_9(kind: str) -> None:
    async with chaos(kind) as run:
        began = await begin(run, workers=3)
        await every(3 if LONG else 0.3, run.kill_any, times=ROUNDS)
        account = await settled("kill -9 of 1 of 3 workers", run, began)
        assert account.completed == JOBS


async def test_broker_restart() -> None:
    async with chaos("rabbitmq") as run:
        began = await begin(run)
        brokers.rabbitmq().restart()
        await settled("broker restart", run, began)


@pytest.mark.parametrize(
    "half_open",
    [pytest.param(False, marks=long_only, id="cut"), pytest.param(True, id="half open")],
)
async def test_broker_cut_off(half_open: bool) -> None:
    async with chaos("rabbitmq", broker_proxy=True) as run:
        began = await begin(run)
        line = run.broker_line
        assert line is not None

        async def interrupt() -> None:
            line.freeze() if half_open else line.cut()
            await every(3 if half_open else 1, line.heal, times=1)

        await every(0.5, interrupt, times=ROUNDS if LONG else 1)
        await settled(f"broker {'half open' if half_open else 'cut off'}", run, began)


@pytest.mark.parametrize(
    "half_open",
    [pytest.param(False, id="cut"), pytest.param(True, marks=long_only, id="half open")],
)
async def test_database_cut_off(half_open: bool) -> None:
    async with chaos("rabbitmq", database_proxy=True) as run:
        began = await begin(run)
        line = run.database_line
        assert line is not None

        async def interrupt() -> None:
            line.freeze() if half_open else line.cut()
            await every(3 if half_open else 1, line.heal, times=1)

        await every(0.5, interrupt, times=ROUNDS if LONG else 1)
        await settled(f"database {'half open' if half_open else 'cut off'}", run, began)


@pytest.mark.parametrize("kind", BROKERS if LONG else ["rabbitmq"])
async def test_a_stall_longer_than_the_lease(kind: str) -> None:
    async with chaos(kind) as run:
        began = await begin(run)
        sleeper = run.workers[0]
        sleeper.send_signal(signal.SIGSTOP)
        await every(30 if LONG else 5, lambda: sleeper.send_signal(signal.SIGCONT), times=1)
        account = await settled("a worker stalls longer than its lease", run, began)
        assert account.completed == JOBS


@pytest.mark.parametrize("kind", BROKERS if LONG else ["rabbitmq"])
async def test_every_message_twice_with_malformed_ones_among_them(kind: str) -> None:
    async with chaos(kind) as run:
        began = await begin(run, times=2, malformed=JOBS // 10)
        account = await settled("every message twice, malformed ones among them", run, began)
        assert account.completed == JOBS
        assert account.dead >= 1


@pytest.mark.parametrize("kind", BROKERS if LONG else ["rabbitmq"])
async def test_the_store_refuses_a_tenth_of_the_calls(kind: str) -> None:
    async with chaos(kind) as run:
        began = await begin(run, CHAOS_STORE_REFUSES="0.1")
        account = await settled("the store refuses 10 % of calls", run, began)
        assert account.completed == JOBS


@pytest.mark.parametrize("kind", BROKERS if LONG else ["rabbitmq"])
async def test_a_rolling_redeploy(kind: str) -> None:
    async with chaos(kind) as run:
        began = await begin(run)
        for old in list(run.workers):
            run.start_worker()
            assert await run.terminate(old) == 0
        account = await settled("SIGTERM in a rolling redeploy", run, began)
        assert account.completed == JOBS


@long_only
async def test_clocks_a_minute_apart() -> None:
    async with chaos("rabbitmq") as run:
        run.start_worker(CHAOS_CLOCK_OFFSET="60")
        began = await begin(run, workers=1)
        account = await settled("clocks a minute apart", run, began)
        assert account.completed == JOBS
