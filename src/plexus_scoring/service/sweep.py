"""Finds jobs that no message will bring any more, and has them brought again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from plexus_scoring.model.job import JobKey, ScoringJob
from plexus_scoring.ports import JobStore
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Enqueue = Callable[[ScoringJob], Awaitable[None]]


async def sweep(
    jobs: JobStore,
    enqueue: Enqueue,
    metrics: Metrics,
    *,
    pending_older_than: float,
    limit: int,
    account: str | None = None,
) -> tuple[JobKey, ...]:
    """Send a message for each stranded job, and return their keys.

    Stranded are due PENDING jobs that nobody touched for `pending_older_than` seconds, and IN_PROGRESS ones whose
    lease ran out. The jobs themselves are not changed: should their own message still come, the claim lets one of
    the two through.

    Raises:
        StoreUnavailable: the store or the queue cannot be reached; what was sent until then stays sent.
    """
    stranded = await jobs.list_stranded(
        pending_older_than=pending_older_than, limit=limit, account=account
    )
    for job in stranded:
        await enqueue(job)
        log.info(
            "stranded job put back on the queue",
            extra={"scoring_job_id": job.id, "account": job.account, "status": job.status.value},
        )
    metrics.count(names.SWEPT, len(stranded))
    return tuple(job.key for job in stranded)
