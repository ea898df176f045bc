"""Puts jobs on the request queue, where one is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from plexus_scoring.model.errors import (
    ConfigurationError,
    InvalidRequest,
    NotFound,
    ScoringError,
)
from plexus_scoring.model.job import NewJob, ScoringJob
from plexus_scoring.model.messages import encode_request, parse_request

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application
    from plexus_scoring.transports.base import DeadMessage, QueueAdmin

NOT_QUEUED = (
    "no queue is set (PLEXUS_TRANSPORT, PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL): "
    "the jobs wait as PENDING for whoever claims the oldest job"
)


LOOKED_AT = 100_000
"""Dead letters that are looked at for those of redriven jobs."""


@asynccontextmanager
async def broker(
    app: Application, transport: str | None = None
) -> AsyncIterator[QueueAdmin | None]:
    """Give the request queue's operations; None where no queue is set.

    Args:
        app: The process's parts.
        transport: Kind of the broker; default: PLEXUS_TRANSPORT, else SQS where its queue is set.

    Raises:
        ConfigurationError: the broker's settings are missing.
    """
    settings = app.settings
    kind = transport or settings.transport or ("sqs" if settings.request_queue_url else None)
    if kind is None:
        yield None
        return
    from plexus_scoring.worker.connect import connect, transport_kind  # noqa: PLC0415  brokers

    opened = connect(settings, transport_kind(settings, kind))
    try:
        yield opened.admin
    finally:
        await opened.admin.aclose()
        await opened.close()


async def check_queue(app: Application, *, transport: str | None = None) -> None:
    """Raise NotFound if a queue is set that does not exist, StoreUnavailable if its broker cannot be asked."""
    async with broker(app, transport) as admin:
        if admin is not None and not await admin.exists():
            raise NotFound(
                f"the request queue {_queue_name(app, transport)} does not exist: correct the variable, or start a "
                "worker, which creates it; --force creates it now"
            )


def _queue_name(app: Application, transport: str | None) -> str:
    """Return the queue's name with the variable that sets it."""
    from plexus_scoring.worker.connect import transport_kind  # noqa: PLC0415  brokers

    settings = app.settings
    kind = transport or settings.transport
    match transport_kind(settings, kind) if kind else "sqs":
        case "rabbitmq":
            return f"{settings.rabbitmq_request_queue} (PLEXUS_RABBITMQ_REQUEST_QUEUE)"
        case "redis":
            return f"{settings.redis_request_queue} (PLEXUS_REDIS_REQUEST_QUEUE)"
        case "sqs":
            return (
                f"{settings.request_queue_url} (PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL)"
            )


async def enqueue(
    app: Application, jobs: Collection[ScoringJob | NewJob], *, transport: str | None = None
) -> bool:
    """Send a request for each job to the request queue; return False where no queue is set.

    Raises:
        StoreUnavailable: the queue did not take them.
        ConfigurationError: the broker's settings are missing.
    """
    async with broker(app, transport) as admin:
        if admin is None or not jobs:
            return admin is not None
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(
                        admin.send(encode_request(job), request_id=job.request_id or job.id)
                    )
        except* ScoringError as errors:
            # The first of them says it: a broker that is away fails them all.
            raise errors.exceptions[0] from None
    return True


async def discard_dead_letters(
    app: Application, jobs: Collection[ScoringJob], *, transport: str | None = None
) -> int:
    """Delete the dead letters of jobs that have a message again; return how many."""
    keys = {job.key for job in jobs}

    async def choose(message: DeadMessage) -> bool:
        try:
            request = parse_request(message.body, default_account=app.settings.account)
        except InvalidRequest:
            return False
        return request.key in keys

    async with broker(app, transport) as admin:
        if admin is None or not keys:
            return 0
        try:
            return await admin.discard(choose, limit=LOOKED_AT)
        except (ConfigurationError, NotFound):
            return 0  # there is no dead-letter queue
