"""Finds jobs that no message will bring any more, and has them brought again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from plexus_scoring.model.job import JobKey, ScoringJob
from plexus_scoring.ports import Clock, JobStore
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

HELD_SECONDS = 86_400.0
"""Longer than a message is on its way: a hundred receives, ten minutes apart at most, take less than a day."""
_TOGETHER = 100

Enqueue = Callable[[ScoringJob], Awaitable[None]]


async def sweep(
    jobs: JobStore,
    enqueue: Enqueue,
    metrics: Metrics,
    clock: Clock,
    *,
    pending_older_than: float,
    limit: int,
    account: str | None = None,
    held: int = 0,
    held_older_than: float = HELD_SECONDS,
) -> tuple[JobKey, ...]:
    """Send a message for each stranded job, and return their keys.

    Stranded are due PENDING jobs that nobody touched for `pending_older_than` seconds, and IN_PROGRESS ones whose
    lease ran out. The jobs themselves are not changed: should their own message still come, the claim lets one of
    the two through.

    While the queue has `held` messages, these may be the jobs': only what nobody touched for `held_older_than` seconds
    is sent then.

    Raises:
        StoreUnavailable: the store or the queue cannot be reached; what was sent until then stays sent.
    """
    oldest = max(pending_older_than, held_older_than) if held else pending_older_than
    found = await jobs.list_stranded(pending_older_than=oldest, limit=limit, account=account)
    before = clock.now() - held_older_than
    stranded = [job for job in found if not held or job.updated_at <= before]
    for start in range(0, len(stranded), _TOGETHER):
        await asyncio.gather(*(_send(job, enqueue) for job in stranded[start : start + _TOGETHER]))
    metrics.count(names.SWEPT, len(stranded))
    if len(found) >= limit:
        log.warning("%d stranded jobs found, the most of one sweep: there may be more", limit)
    return tuple(job.key for job in stranded)


async def _send(job: ScoringJob, enqueue: Enqueue) -> None:
    await enqueue(job)
    log.info(
        "stranded job put back on the queue",
        extra={"scoring_job_id": job.id, "account": job.account, "status": job.status.value},
    )
