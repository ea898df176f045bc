"""What is stored beside a job: its log and its trace, those of failed attempts too."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from plexus_scoring.model.errors import NotFound
from plexus_scoring.model.result import attachment_keys, result_id_of

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application
    from plexus_scoring.model.job import JobKey
    from plexus_scoring.model.result import ScoreResult

Document = Literal["log", "trace"]


async def result_of(app: Application, key: JobKey) -> ScoreResult | None:
    """Return the account's result of that id, or of the job of that id."""
    result = await app.jobs.result(key.id, account=key.account)
    if result is not None:
        return result
    job = await app.jobs.get(key)
    result_id = (job and job.result_id) or result_id_of(key)
    return await app.jobs.result(result_id, account=key.account)


async def document_of(
    app: Application, key: JobKey, what: Document, *, attempt: int | None = None
) -> bytes:
    """Return a result's document, or what the last failed attempt of a job left.

    Args:
        app: The process's parts.
        key: A result or a job.
        what: Which document.
        attempt: Which failed attempt; None: the result, else the last failed attempt.

    Raises:
        NotFound: There is no such job, or nothing is stored.
    """
    result = await result_of(app, key) if attempt is None else None
    if result is not None:
        place = getattr(result.attachments, what)
        if place is None:
            raise NotFound(f"result {result.id} has no {what}")
        return await app.attachments.get(place)
    job = await app.jobs.get(key)
    if job is None:
        raise NotFound(f"there is no result or job {key.id!r} in account {key.account!r}")
    for number in [attempt] if attempt else range(job.attempt, 0, -1):
        keys = attachment_keys(result_id_of(key), number)
        with suppress(NotFound):
            return await app.attachments.get(str(getattr(keys, what)))
    which = f"attempt {attempt}" if attempt else "a failed attempt"
    raise NotFound(f"job {key.id!r} ({job.status.value}): there is no {what} of {which}")
