"""A worker's death is charged to the job that caused it, not to those that it held beside it."""

from __future__ import annotations

import asyncio

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Retry
from plexus_scoring.model.errors import EngineUnavailable
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.messages import ScoringRequest
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.service import Policy, ScoringService
from plexus_scoring.service.turns import Turns
from tests.support.service import Bench
from tests.support.stores import key

JOBS = [f"job-{number}" for number in range(10)]
KILLER = "job-3"


class Fleet:
    """One worker after the other on one store; `KILLER` ends the worker that scores it."""

    def __init__(self, **policy):
        self.bench = Bench(policy=Policy(lease_seconds=60, **policy))
        self.dispositions = {}
        self.killed_beside = []

    async def fill(self):
        await self.bench.fill()
        for job in JOBS:
            await self.bench.store.create(
                NewJob(id=job, scorecard="card", score="Greeting", item_id="item-1")
            )

    async def worker(self, jobs):
        """Take all jobs at once, as a prefetch brings them, until the end or the worker's death."""
        died, busy = asyncio.Event(), set()

        async def score(context):
            busy.add(context.job.id)
            for _ in range(3):
                await asyncio.sleep(0)
            if context.job.id == KILLER:
                self.killed_beside.append(len(busy) - 1)
                died.set()
                await asyncio.Event().wait()
            busy.discard(context.job.id)
            return ScoreOutcome(value="Yes")

        self.bench.engine.script = [score] * 1000
        service = ScoringService(
            **self.bench.ports, clock=self.bench.clock, policy=self.bench.policy
        )
        self.bench.ports["jobs"]._port = store = self.bench.store

        async def handle(job):
            self.dispositions[job] = await service.handle(
                ScoringRequest(scoring_job_id=job, request_id=job)
            )

        tasks = [asyncio.create_task(handle(job)) for job in jobs]
        death = asyncio.create_task(died.wait())
        ended = asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait({death, ended}, return_when=asyncio.FIRST_COMPLETED)
        # A process that was killed gives nothing back.
        self.bench.ports["jobs"]._port = Dead()
        for task in [death, *tasks]:
            task.cancel()
        await asyncio.gather(death, ended, return_exceptions=True)
        self.bench.ports["jobs"]._port = store

    async def run(self):
        """Start workers until every message is settled; return how many died."""
        for deaths in range(50):
            left = [
                job for job in JOBS if not isinstance(self.dispositions.get(job), Ack | DeadLetter)
            ]
            if not left:
                return deaths
            await self.worker(left)
            self.bench.clock.time += 61
        raise AssertionError(self.dispositions)


class Dead:
    async def release(self, *_args, **_more):
        raise ConnectionError

    def __getattr__(self, name):
        return self.release


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
async def test_nine_neighbours_of_a_job_that_kills_its_worker_end_well(max_attempts):
    fleet = Fleet(max_attempts=max_attempts)
    await fleet.fill()
    await fleet.run()
    jobs = {job: await fleet.bench.store.get(key(job)) for job in JOBS}
    ended = {name: job.status for name, job in jobs.items() if name != KILLER}
    assert set(ended.values()) == {JobStatus.COMPLETED}
    assert jobs[KILLER].status is JobStatus.FAILED
    assert jobs[KILLER].last_error.code == "attempts_exhausted"
    assert fleet.dispositions[KILLER].reason.code == "attempts_exhausted"
    assert len(fleet.killed_beside) == max(max_attempts, 3)
    assert fleet.killed_beside[2:] == [0] * (len(fleet.killed_beside) - 2)


async def test_deaths_take_no_attempt_from_an_innocent_job():
    """Two deaths beside the killer, then four failures of its provider: the fifth attempt still counts."""
    bench = Bench(policy=Policy(lease_seconds=60, max_attempts=5))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    for _ in range(2):
        await bench.store.claim(key("job-1"), lease_seconds=60)
        bench.clock.time += 61
    bench.engine.script = [EngineUnavailable("away") for _ in range(4)]
    request = ScoringRequest(scoring_job_id="job-1", request_id="r")
    for _ in range(4):
        assert isinstance(await bench.service.handle(request), Retry)
        bench.clock.time += 700
    assert isinstance(await bench.service.handle(request), Ack)


async def test_a_redrive_forgets_deaths_and_failures():
    bench = Bench(policy=Policy(lease_seconds=60, max_attempts=3))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    request = ScoringRequest(scoring_job_id="job-1", request_id="r")
    for _ in range(3):
        await bench.store.claim(key("job-1"), lease_seconds=60)
        bench.clock.time += 61
    assert isinstance(await bench.service.handle(request), DeadLetter)
    await bench.store.redrive(key("job-1"))
    assert isinstance(await bench.service.handle(request), Ack)


async def test_a_job_that_gets_no_turn_before_its_deadline_goes_back_uncounted():
    bench = Bench(policy=Policy(lease_seconds=60, max_attempts=5))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    for _ in range(2):
        await bench.store.claim(key("job-1"), lease_seconds=60)
        bench.clock.time += 61
    request = ScoringRequest(scoring_job_id="job-1", request_id="r")
    async with bench.service._turns.shared():  # another job is at work
        disposition = await bench.service.handle(request, bench.clock.time + 0.001)
    assert (type(disposition), disposition.counted) == (Retry, False)
    job = await bench.store.get(key("job-1"))
    assert (job.status, job.attempt) == (JobStatus.PENDING, 2)
    assert isinstance(await bench.service.handle(request), Ack)


async def test_turns_are_shared_or_had_alone_and_survive_cancellation():
    turns, log = Turns(), []
    first, second = asyncio.Event(), asyncio.Event()

    async def share(name, until=None):
        async with turns.shared():
            log.append(name)
            if until is not None:
                await until.wait()

    async def alone(name, until=None):
        async with turns.alone():
            log.append(name)
            if until is not None:
                await until.wait()

    sharing = [asyncio.create_task(share(name, first)) for name in "ab"]
    await asyncio.sleep(0)
    given_up = asyncio.create_task(alone("x"))
    waiting = asyncio.create_task(alone("c", second))
    await asyncio.sleep(0)
    late = asyncio.create_task(share("d"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert log == ["a", "b"]
    first.set()
    await asyncio.gather(*sharing)
    second.set()
    await asyncio.gather(waiting, late)
    assert log == ["a", "b", "c", "d"]
