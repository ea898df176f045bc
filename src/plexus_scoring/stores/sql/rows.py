"""How jobs and results look as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plexus_scoring.model.errors import ErrorInfo, StoreUnavailable
from plexus_scoring.model.job import JobKey, JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores.codec import decode, encode, memo_key
from plexus_scoring.stores.sql import schema

# What a transition may change; the rest of a job is fixed when it is created.
STATE = (
    "status",
    "updated_at",
    "not_before",
    "attempt",
    "started_at",
    "completed_at",
    "lease_token",
    "lease_expires_at",
    "last_error",
    "result_id",
)
STATE_COLUMNS = [schema.jobs.c[name] for name in ("account", "id", "created_at", *STATE)]


_NO_CONTENT = NewJob(id="", scorecard="", score="")


def job_of(row: Sequence[Any]) -> ScoringJob:
    """Return the job of `STATE_COLUMNS` and its body. Without the body it is enough to decide on its state.

    Raises StoreUnavailable for a row that another version wrote.
    """
    (
        account,
        job_id,
        created_at,
        status,
        updated_at,
        not_before,
        attempt,
        started_at,
        completed_at,
        lease_token,
        lease_expires_at,
        last_error,
        result_id,
        body,
    ) = row
    content = _NO_CONTENT if body is None else decode(body, NewJob)
    return ScoringJob(
        id=job_id,
        account=account,
        created_at=created_at,
        status=_status(status),
        updated_at=updated_at,
        not_before=not_before,
        attempt=attempt,
        started_at=started_at,
        completed_at=completed_at,
        lease_token=lease_token,
        lease_expires_at=lease_expires_at,
        last_error=None if last_error is None else decode(last_error, ErrorInfo),
        result_id=result_id,
        scorecard=content.scorecard,
        score=content.score,
        request_id=content.request_id,
        item_id=content.item_id,
        item=content.item,
        metadata=content.metadata,
    )


def _status(text: str) -> JobStatus:
    try:
        return JobStatus(text)
    except ValueError as error:
        raise StoreUnavailable(
            f"a stored job has the unknown status {text!a}; was it written by a newer version?"
        ) from error


def key_of(row: Sequence[Any]) -> JobKey:
    """Return the key of `STATE_COLUMNS`."""
    return JobKey(row[0], row[1])


def key_columns(key: JobKey) -> dict[str, Any]:
    """Return the values of the columns that name a job."""
    return {"account": key.account, "id": key.id}


def state_of(job: ScoringJob) -> dict[str, Any]:
    """Return the values of the columns that change."""
    return {
        "status": job.status.value,
        "updated_at": job.updated_at,
        "not_before": job.not_before,
        "attempt": job.attempt,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "lease_token": job.lease_token,
        "lease_expires_at": job.lease_expires_at,
        "last_error": None if job.last_error is None else encode(job.last_error).decode(),
        "result_id": job.result_id,
    }


def new_row(job: ScoringJob, body: str) -> dict[str, Any]:
    """Return all columns of a job."""
    return {
        **key_columns(job.key),
        "created_at": job.created_at,
        "body": body,
        **state_of(job),
    }


def result_row(result: ScoreResult) -> dict[str, Any]:
    """Return all columns of a result."""
    return {
        "account": result.account,
        "id": result.id,
        "job_id": result.job_id,
        "memo_key": memo_key(
            item_digest=result.item_digest, score_version=result.score_version, score=result.score
        ),
        "created_at": result.created_at,
        "body": encode(result).decode(),
    }
