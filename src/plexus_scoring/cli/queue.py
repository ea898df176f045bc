"""Puts jobs on the request queue, where one is set."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from plexus_scoring.model.errors import ScoringError
from plexus_scoring.model.job import NewJob, ScoringJob
from plexus_scoring.model.messages import encode_request

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application

NOT_QUEUED = (
    "no queue is set (PLEXUS_TRANSPORT, PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL): "
    "the jobs wait as PENDING for whoever claims the oldest job"
)


async def enqueue(
    app: Application, jobs: Collection[ScoringJob | NewJob], *, transport: str | None = None
) -> bool:
    """Send a request for each job to the request queue; return False where no queue is set.

    Args:
        app: The process's parts.
        jobs: What to ask for.
        transport: Kind of the broker; default: PLEXUS_TRANSPORT, else SQS where its queue is set.

    Raises:
        StoreUnavailable: the queue did not take them.
        ConfigurationError: the broker's settings are missing.
    """
    settings = app.settings
    kind = transport or settings.transport or ("sqs" if settings.request_queue_url else None)
    if kind is None or not jobs:
        return kind is not None
    from plexus_scoring.worker.connect import connect, transport_kind  # noqa: PLC0415  brokers

    broker = connect(settings, transport_kind(settings, kind))
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(
                    broker.admin.send(encode_request(job), request_id=job.request_id or job.id)
                )
    except* ScoringError as errors:
        # The first of them says it: a broker that is away fails them all.
        raise errors.exceptions[0] from None
    finally:
        await broker.admin.aclose()
        await broker.close()
    return True
