"""Reads BullMQ's jobs, also those that BullMQ's own reader gives up on.

An exception of that reader would end the worker that took the job, and the next one after the job has stalled. What is
read here instead is a job whose data are the bytes as they are stored: whoever parses them says what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bullmq import Job, Worker

log = logging.getLogger(__name__)

_READER_ERRORS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class JobWorker(Worker):  # type: ignore[misc]  # BullMQ has no types
    """BullMQ's worker with `read_job` as its reader."""

    async def nextJobFromJobData(  # noqa: N802  BullMQ's name
        self,
        job_data: Mapping[str, str] | None = None,
        job_id: str | None = None,
        limit_until: int = 0,
        delay_until: int = 0,
        token: str | None = None,
    ) -> Any:
        """Return the job that was taken."""
        try:
            if job_data and not _is_text(job_data):
                raise ValueError("not UTF-8")
            return await super().nextJobFromJobData(
                job_data, job_id, limit_until, delay_until, token
            )
        except _READER_ERRORS as error:
            if not job_data or job_id is None:
                raise
            log.warning("BullMQ cannot read job %s: %s", job_id, type(error).__name__)
            self.drained = False
            job = _as_stored(self, job_data, job_id)
            job.token = token
            return job


def read_job(queue: Any, fields: Mapping[str, str], job_id: str) -> Any:
    """Return a stored job."""
    try:
        if _is_text(fields):
            return Job.fromJSON(queue, fields, job_id)
    except _READER_ERRORS:
        log.debug("BullMQ cannot read job %s", job_id, exc_info=True)
    return _as_stored(queue, fields, job_id)


def _as_stored(queue: Any, fields: Mapping[str, str], job_id: str) -> Any:
    job = Job(queue, fields.get("name") or "", _bytes(fields.get("data") or ""), {}, job_id)
    job.attemptsMade = _number(fields.get("atm") or fields.get("attemptsMade"))
    job.timestamp = _number(fields.get("timestamp"))
    job.finishedOn = _number(fields.get("finishedOn"))
    job.failedReason = fields.get("failedReason")
    job.deferredFailure = fields.get("defa")
    return job


def _is_text(fields: Mapping[str, str]) -> bool:
    try:
        (fields.get("data") or "").encode()
    except UnicodeEncodeError:  # the client's stand-ins for bytes that are no text
        return False
    return True


def _bytes(text: str) -> bytes:
    """Undo the client's decoding (`redis_connection.connect_redis`)."""
    return text.encode("utf-8", "surrogateescape")


def _number(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0
