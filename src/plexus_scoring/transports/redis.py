"""Redis in BullMQ's own layout: producers in Node add jobs as usual, and BullMQ's dashboards show them.

BullMQ's `Worker` takes jobs, keeps their locks and finds stalled ones; its processing loop is not used, because a
disposition is more than a return value or an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bullmq import Queue
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from plexus_scoring.model.errors import AttemptsExhausted, ErrorInfo, StoreUnavailable
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.transports.base import Delivery, Envelope
from plexus_scoring.transports.redis_connection import eviction, options, redis_errors
from plexus_scoring.transports.redis_jobs import JobWorker

log = logging.getLogger(__name__)

LOCK_SECONDS = 30.0
BATCH = 8
"""Jobs taken at once; more would keep the first of them waiting for the last."""
KEEP_COMPLETED = {"count": 1_000, "age": 86_400}
"""What stays of completed jobs for the dashboards, where the producer says nothing. BullMQ would keep all."""
MAX_QUEUES = 100
"""Of responders' reply_to queues kept open."""


class RedisSource:
    """Takes requests from a BullMQ queue."""

    def __init__(
        self,
        client: Redis,
        queue: str,
        *,
        prefix: str,
        max_stalled: int,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        """Read `queue`.

        Args:
            client: Shared with responder and admin; whoever made it closes it.
            queue: BullMQ's name of the queue.
            prefix: Of BullMQ's keys.
            max_stalled: How often a job's worker may die before the job is dead.
            lock_seconds: How long a job is ours unless extended; a worker that died is noticed after as long.
        """
        self.name = queue
        self.hold_seconds: float | None = lock_seconds
        self.max_deliveries: int | None = None
        self._client = client
        self._milliseconds = round(lock_seconds * 1_000)
        self._worker: Any = None
        self._options = options(client, prefix) | {
            "autorun": False,
            "lockDuration": self._milliseconds,
            "stalledInterval": self._milliseconds,
            "maxStalledCount": max_stalled,
        }
        self._tokens = itertools.count(1)
        self._stalled: asyncio.Task[None] | None = None
        self._stopped = False
        self._refused: str | None = None

    async def open(self) -> None:
        """Connect, and start to look for stalled jobs."""
        with redis_errors(f"queue {self.name}"):
            await self._client.ping()
        if (problem := await eviction(self._client)) is not None:
            log.warning("%s", problem)
        if self._worker is None:
            self._worker = JobWorker(self.name, None, self._options)
            self._worker.on("error", _log_error)
            self._stalled = asyncio.create_task(self._look_for_stalled())

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for jobs."""
        if self._stopped:
            return ()
        with redis_errors(f"queue {self.name}"):
            try:
                first = await self._worker.getNextJob(self._token())
            except ResponseError as error:
                self._refused = str(error)
                raise
            self._refused = None
            if first is None:
                return ()
            jobs = [first]
            more = min(limit, BATCH) - 1
            if more and not self._stopped:
                # Taken one after the other: an empty answer ends it, and nothing taken is lost if one fails.
                for _ in range(more):
                    job = await self._more()
                    if job is None:
                        break
                    jobs.append(job)
        deliveries = [_RedisDelivery(self, job) for job in jobs]
        return [delivery for delivery in deliveries if not await self._stalled_too_often(delivery)]

    async def _stalled_too_often(self, delivery: _RedisDelivery) -> bool:
        """Dead-letter a job that BullMQ marked as stalled too often: whoever takes such a job must fail it."""
        reason = delivery.job.deferredFailure
        if not reason:
            return False
        try:
            await delivery.dead_letter(AttemptsExhausted(str(reason)).info())
        except StoreUnavailable as error:
            log.warning("it stalls once more: %s", error)
        return True

    async def _more(self) -> Any:
        try:
            return await self._worker.moveToActive(self._token())
        except Exception as error:  # noqa: BLE001  what was taken before must be returned; the next call raises again
            log.warning("%s: no further job taken: %s", self.name, error)
            return None

    def _token(self) -> str:
        return f"{self._worker.id}:{next(self._tokens)}"

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Extend the locks."""
        held = [delivery for delivery in deliveries if isinstance(delivery, _RedisDelivery)]
        if not held:
            return
        with redis_errors(f"queue {self.name}"):
            lost = await self.backend.extendLocks(
                [delivery.job.id for delivery in held],
                [delivery.job.token for delivery in held],
                self._milliseconds,
            )
        if lost:
            log.warning("%d jobs were taken over as stalled: %s", len(lost), ", ".join(lost))

    async def stop(self) -> None:
        """End the wait for a job; one that is being taken still comes back from `receive`."""
        self._stopped = True
        if self._worker is not None:
            self._worker.closing = True
            if self._worker.waiting is not None:
                self._worker.waiting.cancel()

    async def check(self) -> None:
        """Ask the server. One that answers and lets nobody take a job (read only, out of memory) is not enough."""
        with redis_errors(f"queue {self.name}"):
            await self._client.ping()
        if self._refused is not None:
            raise StoreUnavailable(f"Redis: queue {self.name} is not read: {self._refused}")

    async def aclose(self) -> None:
        """End the look for stalled jobs."""
        task, self._stalled = self._stalled, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_for_stalled(self) -> None:
        while True:
            await self._worker.runStalledJobsCheck()
            if self._stalled is None:
                return  # closing: redis-py takes a cancellation while it connects for a failure to connect
            await asyncio.sleep(self._milliseconds / 1_000)

    @property
    def backend(self) -> Any:
        """BullMQ's commands."""
        return self._worker.backend


class _RedisDelivery:
    """One job."""

    def __init__(self, source: RedisSource, job: Any) -> None:
        self._source = source
        self.job = job
        data = job.data
        self.envelope = Envelope(
            message_id=f"{source.name}:{job.id}",
            body=data if isinstance(data, str | bytes) else json.dumps(data),
            deliveries=job.attemptsMade + 1,
            sent_at=job.timestamp / 1_000 if job.timestamp else None,
        )

    async def ack(self) -> None:
        keep = self.job.opts.get("removeOnComplete")
        with self._errors():
            await self._source.backend.moveToCompleted(
                self.job,
                "ok",
                KEEP_COMPLETED if keep is None else keep,
                self.job.token,
                fetch_next=False,
            )

    async def retry(self, after: float, *, counted: bool) -> None:
        now = round(time.time() * 1_000)
        with self._errors():
            await self._source.backend.moveToDelayed(
                self.job.id,
                now,
                round(max(0.0, after) * 1_000),
                self.job.token,
                {"skipAttempt": not counted},
            )

    async def dead_letter(self, reason: ErrorInfo) -> None:
        text = f"{reason.code}: {reason.message}"
        with self._errors():
            # Kept whatever the producer says of failed jobs: the failed ones are the dead-letter queue.
            await self._source.backend.moveToFailed(
                self.job,
                text,
                False,  # noqa: FBT003  BullMQ's signature
                self.job.token,
                fetch_next=False,
                fields_to_update={"failedReason": text},
            )

    async def abandon(self) -> None:
        await self.retry(0.0, counted=False)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _settling(self.envelope.message_id)


@contextlib.contextmanager
def _settling(message_id: str) -> Iterator[None]:
    """BullMQ's scripts refuse with plain exceptions, most often because the lock is another's by now."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(f"Redis: job {message_id}: {error}") from error


class RedisResponder:
    """Adds responses to a BullMQ queue (`ports.Responder`), to the request's `reply_to` if it named one."""

    def __init__(self, client: Redis, queue: str, *, request_queue: str, prefix: str) -> None:
        """Add to `queue` by default; never to `request_queue`, where a response would be taken for a request."""
        self._options = options(client, prefix)
        self._request_queue = request_queue
        self._default = queue
        self._queues: dict[str, Any] = {}

    async def respond(self, response: ScoringResponse) -> None:
        """Add the response. Raises StoreUnavailable."""
        name = response.reply_to
        if not name or name == self._request_queue or ":" in name:
            name = self._default
        queue = self._queues.get(name)
        if queue is None:
            if len(self._queues) >= MAX_QUEUES:
                self._queues.clear()
            queue = self._queues[name] = Queue(name, self._options)
        body = response.body()
        if response.traceparent:
            body["traceparent"] = response.traceparent
        with redis_errors(f"queue {name}"):
            await queue.add("response", body, {})

    async def aclose(self) -> None:
        """Nothing to close: the client belongs to who made it."""


def _log_error(error: object, *_: object) -> None:
    log.warning("BullMQ: %s", error)
