"""What only Redis has: jobs that BullMQ's own reader refuses, and jobs whose workers died too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from bullmq import Queue
from redis.exceptions import ResponseError

from plexus_scoring.model.disposition import Ack, Disposition
from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest
from plexus_scoring.transports.base import DeadMessage
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.transports.requests import RequestHandler
from tests.support.transport_rigs import RedisRig, eventually

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
async def rig() -> AsyncIterator[RedisRig]:
    rig = RedisRig()
    yield rig
    await rig.aclose()


class Working:
    """A consumer at work, and the ids of the jobs that it saw."""

    def __init__(self, rig: RedisRig) -> None:
        self.seen: list[str] = []
        self.consumer = Consumer(
            rig.source(),
            RequestHandler(self.handle, system="redis"),
            concurrency=5,
            drain_seconds=5,
            max_hold_seconds=60,
            max_deliveries=5,
        )

    async def handle(self, request: ScoringRequest, deadline: float | None) -> Disposition:
        self.seen.append(request.scoring_job_id)
        return Ack()

    async def __aenter__(self) -> Self:
        self.running = asyncio.create_task(self.consumer.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.consumer.stop()
        await self.running


async def add(rig: RedisRig, field: str, raw: str | bytes) -> str:
    """Add a job as another client might have written it."""
    queue = Queue(rig.name, {"connection": rig.client, "prefix": "bull"})
    job = await queue.add("score", {"scoring_job_id": "odd"}, {})
    await rig.client.hset(f"bull:{rig.name}:{job.id}", field, raw)
    return str(job.id)


async def dead(rig: RedisRig) -> list[DeadMessage]:
    return [message async for message in rig.admin.dead_letters(10)]


async def every(message: DeadMessage) -> bool:
    return True


@pytest.mark.parametrize(
    "raw",
    [b'{"scoring_job_id": "caf\xe9"}', DEEP, "not JSON", "1" * 5_000],
    ids=["not UTF-8", "deep", "not JSON", "digits"],
)
async def test_data_that_bullmq_cannot_read_die_and_end_no_worker(
    rig: RedisRig, raw: str | bytes
) -> None:
    await add(rig, "data", raw)
    await rig.admin.send('{"scoring_job_id": "good"}', request_id="r")
    async with Working(rig) as working:
        (message,) = await eventually(lambda: dead(rig))
        await eventually(lambda: working.seen)
        assert not working.running.done()
    assert working.seen == ["good"]
    assert message.reason_code == "invalid_request"
    assert await rig.admin.redrive(every, limit=10) == 1


@pytest.mark.parametrize(("field", "raw"), [("opts", "null"), ("timestamp", "1.5e12")])
async def test_fields_beside_the_data_keep_no_job_from_being_worked_on(
    rig: RedisRig, field: str, raw: str
) -> None:
    await add(rig, field, raw)
    async with Working(rig) as working:
        await eventually(lambda: working.seen)
        assert not working.running.done()
    assert working.seen == ["odd"]
    assert (await rig.admin.stats()).in_flight == 0


async def test_a_job_whose_workers_died_too_often_is_dead_until_it_is_redriven(
    rig: RedisRig,
) -> None:
    """BullMQ only marks it and gives it to the next worker, which is to fail it."""
    job_id = await add(rig, "defa", "job stalled more than allowable limit")
    await rig.client.hset(f"bull:{rig.name}:{job_id}", "stc", 9)
    async with Working(rig) as working:
        (message,) = await eventually(lambda: dead(rig))
        assert working.seen == []
        assert message.reason_code == "attempts_exhausted"
        assert await rig.admin.redrive(every, limit=10) == 1
        await eventually(lambda: working.seen == ["odd"])
    assert await dead(rig) == []


async def test_a_job_that_someone_else_redrives_meanwhile_ends_no_redrive(rig: RedisRig) -> None:
    for name in ("one", "two"):
        await rig.admin.send("{", request_id=name)
    async with Working(rig):
        await eventually(lambda: _both_dead(rig))
    others: list[int] = []

    async def after_another(_: object) -> bool:
        if not others:
            others.append(0)
            others[0] = await rig.admin.redrive(every, limit=10)
        return True

    assert await rig.admin.redrive(after_another, limit=10) == 0
    assert others == [2]
    assert (await rig.admin.stats()).waiting == 2


async def _both_dead(rig: RedisRig) -> bool:
    return len(await dead(rig)) == 2


@pytest.mark.parametrize("turns", range(6))
async def test_closing_ends_whatever_the_connection_is_about_to_do(
    rig: RedisRig, turns: int
) -> None:
    """In its first turns of the loop the look for stalled jobs connects, and redis-py swallows a cancellation there."""
    source = rig.source()
    await source.open()
    for _ in range(turns):
        await asyncio.sleep(0)
    await source.aclose()


async def test_a_server_that_may_evict_jobs_is_told(
    rig: RedisRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The table's row: allkeys-lru; a warning at the start, and in doctor, which asks `problem`."""
    assert await rig.admin.problem() is None
    await rig.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        source = rig.source()
        await source.open()
        await source.aclose()
        assert "allkeys-lru" in caplog.text
        assert "noeviction" in (await rig.admin.problem() or "")
    finally:
        await rig.client.config_set("maxmemory-policy", "noeviction")


async def test_a_queue_that_nobody_has_used_does_not_exist(rig: RedisRig) -> None:
    assert not await rig.admin.exists()
    await rig.admin.send("one", request_id="r")
    assert await rig.admin.exists()


async def test_a_server_that_lets_nobody_take_a_job_is_not_ready(
    rig: RedisRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only replica, or a full memory: it answers PING."""
    source: Any = rig.source()
    await source.open()

    async def refused(token: str, options: object) -> None:
        raise ResponseError("OOM command not allowed when used memory > 'maxmemory'")

    with monkeypatch.context() as patch:
        patch.setattr(source.backend, "moveToActive", refused)
        with pytest.raises(StoreUnavailable, match="OOM"):
            await source.receive(1)
        with pytest.raises(StoreUnavailable, match="OOM"):
            await source.check()
    await rig.admin.send("one", request_id="r")
    assert await source.receive(1)
    await source.check()
    await source.aclose()
