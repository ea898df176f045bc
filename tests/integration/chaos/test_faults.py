"""Faults on real servers.

`make test` strikes with groups of them, one after the other in one run a broker; `make chaos` gives each fault a run of
its own with 10,000 jobs, strikes until most of them are done, and prints a table.

After each: every job COMPLETED or dead-lettered with a reason, exactly one result a job, every job answered at least
once, and no two answers that differ. A full dead-letter queue, which only RabbitMQ has, is in
`brokers/test_rabbitmq.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from plexus_scoring.model.job import JobStatus
from tests.support.chaos import Account, Chaos, chaos, finish
from tests.support.clock import HANG_SECONDS
from tests.support.stores import key

LONG = "CHAOS_JOBS" in os.environ
JOBS = int(os.environ.get("CHAOS_JOBS", "60"))
"""Jobs of a run; in the short version, jobs that each fault strikes."""
SECONDS = 5 * HANG_SECONDS + JOBS / 10  # only a hang takes so long
BROKERS = ["rabbitmq", "redis", "sqs"]
UNTIL = 0.8  # of the jobs of a long run are done when the last fault strikes

pytestmark = [
    pytest.mark.timeout(4 * SECONDS),
    pytest.mark.parametrize("kind", BROKERS),
]


async def pause(seconds: float) -> None:
    """Let a long run go on for a while between two strikes."""
    if LONG:
        await asyncio.sleep(seconds)  # clock: nothing waits for it


async def kill_9(run: Chaos) -> None:
    await pause(3)
    await run.kill_any()


async def broker_restart(run: Chaos) -> None:
    await asyncio.to_thread(run.restart_broker)
    await pause(10)


async def broker_cut(run: Chaos) -> None:
    assert run.broker_line is not None
    await run.broker_line.cut_for(1)
    await pause(2)


async def broker_half_open(run: Chaos) -> None:
    assert run.broker_line is not None
    await run.broker_line.freeze_for(25 if LONG else 2)  # longer than the heartbeat
    await pause(5)


async def database_cut(run: Chaos) -> None:
    assert run.database_line is not None
    await run.database_line.cut_for(1)
    await pause(2)


async def database_half_open(run: Chaos) -> None:
    assert run.database_line is not None
    await run.database_line.freeze_for(10 if LONG else 2)
    await pause(5)


async def database_failover(run: Chaos) -> None:
    """Until a worker has met it: the new server answers, and takes no writes for a while."""
    async with run.read_only_database():
        while not any("read-only" in worker.output() for worker in run.workers):
            await run.send_again(10)
        await pause(3)
    await pause(5)


async def stall(run: Chaos) -> None:
    """Stop a process that holds jobs until others have completed them. Its late completions are refused."""
    hold = run.folder / "held"
    hold.mkdir()
    sleeper = await run.start_worker(
        CHAOS_ENGINE_HOLDS=str(hold), PLEXUS_JOB_TIMEOUT_SECONDS="3600"
    )
    while not any(hold.iterdir()):
        await run.submit(10, times=2)
    sleeper.process.send_signal(signal.SIGSTOP)
    await run.until_completed(len(run.ids), SECONDS)
    shutil.rmtree(hold)
    sleeper.process.send_signal(signal.SIGCONT)
    await run.until(lambda: "dropping the work" in sleeper.output())


async def redeploy(run: Chaos) -> None:
    """Each worker gets a successor and SIGTERM, as in a rolling update."""
    for old in list(run.workers):
        await run.start_worker()
        assert await run.terminate(old) == 0
    await pause(3)


async def nothing(run: Chaos) -> None:
    """The fault is in the messages or in the workers' environment."""


@dataclass(frozen=True)
class Fault:
    """What strikes, and what the run has from the start.

    `times`: messages a job; `environment`: of every worker; `first_worker`: of one more; `once`: strikes once.
    """

    name: str
    strike: Callable[[Chaos], Awaitable[None]] = nothing
    workers: int = 2
    times: int = 1
    malformed: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    first_worker: dict[str, str] | None = None
    once: bool = False
    brokers: tuple[str, ...] = tuple(BROKERS)


FAULTS = [
    Fault("kill -9 of 1 of 3 workers every few seconds", kill_9, workers=3),
    # SQS has no server that restarts; its endpoint being away is the next row.
    Fault("broker restart in mid-run", broker_restart, brokers=("rabbitmq", "redis")),
    Fault("broker cut off and back", broker_cut),
    Fault("broker half open", broker_half_open),
    Fault("database cut off and back", database_cut),
    Fault("database half open", database_half_open),
    Fault("database read-only after a failover", database_failover),
    Fault("a worker stalls longer than its lease", stall, once=True),
    Fault("every message twice, malformed ones among them", times=2, malformed=True),
    Fault("the store refuses 10 % of calls", environment={"CHAOS_STORE_REFUSES": "0.1"}),
    Fault("SIGTERM in a rolling redeploy", redeploy),
    Fault("clocks a minute apart", workers=1, first_worker={"CHAOS_CLOCK_OFFSET": "60"}),
]
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


async def prepare(run: Chaos, fault: Fault) -> None:
    if fault.first_worker is not None:
        await run.start_worker(**fault.first_worker)
    for _ in range(fault.workers):
        await run.start_worker(**fault.environment)


@pytest.mark.skipif(not LONG, reason="`make chaos` runs it")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_one_fault(kind: str, fault: Fault) -> None:
    if kind not in fault.brokers:
        pytest.skip(f"{kind}: does not apply")
    began = time.monotonic()
    async with chaos(kind) as run:
        await prepare(run, fault)
        malformed = JOBS // 100 if fault.malformed else 0
        await run.submit(JOBS, times=fault.times, malformed=malformed)
        await run.until_completed(JOBS // 20)
        while await run.completed() < UNTIL * JOBS:
            await fault.strike(run)
            if fault.once or fault.strike is nothing:
                break
        account = await finish(run, began, SECONDS)
        TABLE.append((fault.name, kind, account))
        check(run, account, malformed=malformed)


async def strike_all(run: Chaos, faults: list[Fault], *, times: int = 1) -> None:
    """Strike with one fault after the other, each time in the middle of new jobs; then settle the account."""
    began = time.monotonic()
    for fault in faults:
        if run.kind not in fault.brokers:
            continue
        before = await run.completed()
        await run.submit(JOBS, times=times, malformed=5 if times > 1 else 0)
        await run.until_completed(before + JOBS // 10)
        await fault.strike(run)
    account = await finish(run, began, SECONDS)
    check(run, account, malformed=5 * len(faults) if times > 1 else 0)


def check(run: Chaos, account: Account, *, malformed: int) -> None:
    """No fault that we inject may cost a job its completion; what is malformed dies with a reason."""
    assert account.completed == account.jobs == len(run.ids)
    assert account.dead >= min(malformed, 1)


short_only = pytest.mark.skipif(LONG, reason="each fault has a run of its own")


@short_only
async def test_processes_die_stall_and_are_replaced(kind: str) -> None:
    """Under a store that refuses a tenth of the calls, with every message twice and malformed ones among them."""
    async with chaos(kind) as run:
        for _ in range(2):
            await run.start_worker(CHAOS_STORE_REFUSES="0.1")
        faults = [fault for fault in FAULTS if fault.strike in {kill_9, stall, redeploy}]
        await strike_all(run, faults, times=2)


@short_only
async def test_lines_and_servers_go_away_and_come_back(kind: str) -> None:
    lines = {
        broker_restart,
        broker_cut,
        broker_half_open,
        database_cut,
        database_half_open,
        database_failover,
    }
    async with chaos(kind) as run:
        for _ in range(2):
            await run.start_worker()
        await strike_all(run, [fault for fault in FAULTS if fault.strike in lines])


@short_only
async def test_a_job_that_kills_its_worker_takes_no_neighbour_along(kind: str) -> None:
    async with chaos(kind) as run:
        await run.submit(10)
        killer = run.ids[3]
        deaths = await run.settle_with_one_worker(
            SECONDS,
            CHAOS_ENGINE_KILLS=killer,
            CHAOS_ENGINE_SECONDS="0.4",
            PLEXUS_MAX_ATTEMPTS="3",
            PLEXUS_RABBITMQ_PREFETCH="10",
        )
        jobs = {job_id: await run.stores.jobs.get(key(job_id)) for job_id in run.ids}
        failed = {name: job for name, job in jobs.items() if job.status is JobStatus.FAILED}
        dead = [message async for message in run.rig.admin.dead_letters(100)]
    assert {name: job.last_error.code for name, job in failed.items()} == {
        killer: "attempts_exhausted"
    }
    assert all(job.status is JobStatus.COMPLETED for job in jobs.values() if job.id != killer)
    assert [message.reason_code for message in dead] == ["attempts_exhausted"]
    assert deaths == 3


@short_only
async def test_clocks_a_minute_apart(kind: str) -> None:
    async with chaos(kind) as run:
        await prepare(run, FAULTS[-1])
        await strike_all(run, [FAULTS[-1]])
