"""Jobs that no message will bring any more are brought again; all others are left alone."""

from __future__ import annotations

import pytest

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import NewJob
from plexus_scoring.service.sweep import HELD_SECONDS, sweep
from plexus_scoring.telemetry import names
from tests.support.service import Bench
from tests.support.stores import key


async def test_lost_messages_and_dead_workers_are_found_and_nothing_else():
    bench = Bench()
    for job_id in ("lost", "dead", "held", "waiting", "done"):
        await bench.store.create(NewJob(id=job_id, scorecard="card", score="Greeting"))
    await bench.store.claim(key("dead"), lease_seconds=60)
    await bench.store.claim(key("held"), lease_seconds=5_000)
    waiting = await bench.store.claim(key("waiting"), lease_seconds=60)
    await bench.store.release(waiting.lease, delay=5_000, counted=True)
    done = await bench.store.claim(key("done"), lease_seconds=60)
    await bench.store.fail(done.lease, StoreUnavailable("x").info())
    bench.clock.time += 1_000
    await bench.store.create(NewJob(id="fresh", scorecard="card", score="Greeting"))
    sent = []

    async def enqueue(job):
        sent.append(job.id)

    found = await sweep(
        bench.store,
        enqueue,
        bench.metrics,
        bench.clock,
        pending_older_than=900,
        limit=100,
        account="default",
    )

    assert {one.id for one in found} == set(sent) == {"lost", "dead"}
    assert bench.metrics.counters[names.SWEPT,] == 2


async def test_a_queue_that_refuses_ends_the_sweep_with_its_reason():
    bench = Bench()
    await bench.store.create(NewJob(id="lost", scorecard="card", score="Greeting"))
    bench.clock.time += 1_000

    async def enqueue(job):
        raise StoreUnavailable("queue away")

    with pytest.raises(StoreUnavailable, match="queue away"):
        await sweep(
            bench.store, enqueue, bench.metrics, bench.clock, pending_older_than=900, limit=100
        )
    job = await bench.store.get(key("lost"))
    assert job.status == "PENDING"


async def test_while_the_queue_holds_messages_only_what_lay_for_a_day_is_sent():
    bench, sent = Bench(), []

    async def enqueue(job):
        sent.append(job.id)

    async def swept(held):
        sent.clear()
        await sweep(
            bench.store,
            enqueue,
            bench.metrics,
            bench.clock,
            pending_older_than=900,
            limit=100,
            held=held,
        )
        return set(sent)

    for job_id in ("old", "dead"):
        await bench.store.create(NewJob(id=job_id, scorecard="card", score="Greeting"))
    await bench.store.claim(key("dead"), lease_seconds=60)
    bench.clock.time += HELD_SECONDS / 2
    await bench.store.create(NewJob(id="recent", scorecard="card", score="Greeting"))
    await bench.store.claim(key("recent"), lease_seconds=60)
    bench.clock.time += 1_000
    assert await swept(held=1) == set()
    assert await swept(held=0) == {"old", "dead", "recent"}
    bench.clock.time += HELD_SECONDS / 2
    assert await swept(held=1) == {"old", "dead"}


async def test_a_sweep_that_reaches_its_limit_says_so(caplog):
    bench, sent = Bench(), []
    for number in range(250):
        await bench.store.create(NewJob(id=f"job-{number}", scorecard="card", score="Greeting"))
    bench.clock.time += 1_000

    async def enqueue(job):
        sent.append(job.id)

    options = {"pending_older_than": 900, "limit": 250}
    await sweep(bench.store, enqueue, bench.metrics, bench.clock, **options)
    assert len(set(sent)) == 250
    assert "250 stranded jobs found, the most of one sweep" in caplog.text
