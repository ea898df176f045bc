"""What operators do with a BullMQ queue: send, count, look at failed jobs, retry them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from bullmq import Queue
from redis.asyncio import Redis

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.transports.base import Choose, DeadMessage, QueueStats
from plexus_scoring.transports.redis_connection import eviction, options, redis_errors
from plexus_scoring.transports.redis_jobs import read_job


class RedisAdmin:
    """`QueueAdmin` of a BullMQ queue. Its dead letters are BullMQ's failed jobs."""

    def __init__(self, client: Redis, queue: str, *, prefix: str) -> None:
        """Operate on `queue` over `client`, which it closes."""
        self._client = client
        self._name = queue
        self._options = options(client, prefix)
        self._made: Any = None

    @property
    def _queue(self) -> Any:
        if self._made is None:
            self._made = Queue(self._name, self._options)
        return self._made

    async def send(
        self, body: str, *, request_id: str, traceparent: str | None = None, delay: float = 0.0
    ) -> None:
        """Add a job.

        Not under an id of our own: BullMQ takes a second job of the same id, even long after the first has
        completed, for a duplicate and drops it, and a stranded job could never be sent again.
        """
        data = _data(body)
        if isinstance(data, dict):
            if "scoring_job_id" in data:  # an inline job's id stands in its body, or nowhere
                data.setdefault("request_id", request_id)
            if traceparent:
                data.setdefault("traceparent", traceparent)
        with redis_errors(f"queue {self._name}"):
            await self._queue.add("score", data, {"delay": round(delay * 1_000)} if delay else {})

    async def stats(self) -> QueueStats:
        """Count."""
        with redis_errors(f"queue {self._name}"):
            counts = await self._queue.getJobCounts(
                "wait", "paused", "prioritized", "active", "delayed", "failed"
            )
        return QueueStats(
            waiting=counts.get("wait", 0) + counts.get("paused", 0) + counts.get("prioritized", 0),
            in_flight=counts.get("active", 0),
            delayed=counts.get("delayed", 0),
            dead=counts.get("failed", 0),
        )

    async def dead_letters(self, limit: int) -> AsyncIterator[DeadMessage]:
        """Yield failed jobs."""
        for job in await self._failed(limit):
            yield _dead(job)

    async def redrive(self, choose: Choose, *, limit: int) -> int:
        """Have BullMQ retry the chosen; it moves each in one step."""
        moved = 0
        for job in await self._failed(limit):
            if not await choose(_dead(job)):
                continue
            try:
                # The mark of a job that stalled too often, which would fail it again at once.
                await self._client.hdel(self._queue.toKey(job.id), "defa", "stc")
                await job.retry("failed", {"resetAttemptsMade": True, "resetAttemptsStarted": True})
            except Exception as error:  # BullMQ's scripts refuse with plain exceptions
                if not await self._is_failed(job.id):
                    continue  # someone else moved it meanwhile
                raise StoreUnavailable(f"Redis: job {job.id} not retried: {error}") from error
            moved += 1
        return moved

    async def discard(self, choose: Choose, *, limit: int) -> int:
        """Remove the chosen failed jobs."""
        removed = 0
        for job in await self._failed(limit):
            if not await choose(_dead(job)):
                continue
            try:
                await job.remove()
            except Exception as error:  # BullMQ's scripts refuse with plain exceptions
                if not await self._is_failed(job.id):
                    continue  # someone else moved it meanwhile
                raise StoreUnavailable(f"Redis: job {job.id} not removed: {error}") from error
            removed += 1
        return removed

    async def exists(self) -> bool:
        """Whether a producer or a worker has used the queue."""
        keys = [self._queue.toKey(name) for name in ("meta", "id", "stalled-check", "marker")]
        with redis_errors(f"queue {self._name}"):
            return bool(await self._client.exists(*keys))

    async def problem(self) -> str | None:
        """Return what is wrong with the server's eviction policy."""
        return await eviction(self._client)

    async def _is_failed(self, job_id: str) -> bool:
        with redis_errors(f"queue {self._name}"):
            return await self._client.zscore(self._queue.toKey("failed"), job_id) is not None

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _failed(self, limit: int) -> list[Any]:
        with redis_errors(f"queue {self._name}"):
            # Below BullMQ's own list, which one job that it cannot read would end.
            queue = self._queue
            ids: Any = await self._client.zrevrange(queue.toKey("failed"), 0, limit - 1)
            jobs: Any = [
                (job_id, await self._client.hgetall(queue.toKey(job_id))) for job_id in ids
            ]
        return [read_job(queue, fields, job_id) for job_id, fields in jobs if fields]


def _data(body: str) -> Any:
    """Return the object that the body is, so that dashboards show its keys; any other body stays a string."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    return value if isinstance(value, dict) else body


def _dead(job: Any) -> DeadMessage:
    code, _, reason = str(job.failedReason or "").partition(": ")
    if not reason or " " in code:
        # BullMQ's own words, for example of a job whose workers died too often.
        code, reason = "failed", str(job.failedReason or "")
    data = job.data.decode(errors="replace") if isinstance(job.data, bytes) else job.data
    return DeadMessage(
        id=str(job.id),
        body=data if isinstance(data, str) else json.dumps(data),
        reason_code=code,
        reason=reason,
        died_at=job.finishedOn / 1_000 if job.finishedOn else None,
    )
