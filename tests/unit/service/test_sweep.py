"""Jobs that no message will bring any more are brought again; all others are left alone."""

from __future__ import annotations

import pytest

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import NewJob
from plexus_scoring.service.sweep import sweep
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
        bench.store, enqueue, bench.metrics, pending_older_than=900, limit=100, account="default"
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
        await sweep(bench.store, enqueue, bench.metrics, pending_older_than=900, limit=100)
    job = await bench.store.get(key("lost"))
    assert job.status == "PENDING"
