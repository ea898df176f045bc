"""Puts jobs on the request queue, where one is set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from plexus_scoring.model.job import NewJob, ScoringJob
from plexus_scoring.model.messages import encode_request

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application

QUEUE_VARIABLE = "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL"
NOT_QUEUED = (
    f"{QUEUE_VARIABLE} is not set: the jobs wait as PENDING for whoever claims the oldest job"
)


async def enqueue(app: Application, jobs: Iterable[ScoringJob | NewJob]) -> bool:
    """Send a request for each job to the request queue; return False where no queue is set.

    Raises:
        StoreUnavailable: the queue did not take them.
    """
    url = app.settings.request_queue_url
    if url is None:
        return False
    import asyncio  # noqa: PLC0415  the commands that only read do without

    from plexus_scoring.transports.sqs import OutgoingMessage, SqsSender  # noqa: PLC0415  botocore

    sender = SqsSender(app.aws, url)
    await asyncio.gather(*(sender.send(OutgoingMessage(encode_request(job))) for job in jobs))
    return True
