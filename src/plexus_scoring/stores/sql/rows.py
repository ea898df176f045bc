"""How jobs and results look as rows."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import RowMapping

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
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
STATE_COLUMNS = [schema.jobs.c[name] for name in ("id", "account", "created_at", *STATE)]


def job_of(row: RowMapping) -> ScoringJob:
    """Return the job. A row without its body gives one without content: enough to decide on its state."""
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    body = values.pop("body", None)
    error = values.pop("last_error")
    content = {} if body is None else msgspec.structs.asdict(decode(body, NewJob))
    return ScoringJob(
        **{
            "scorecard": "",
            "score": "",
            **content,
            **values,
            "status": JobStatus(values["status"]),
            "last_error": None if error is None else decode(error, ErrorInfo),
        }
    )


def state_of(job: ScoringJob) -> dict[str, Any]:
    """Return the values of the columns that change."""
    values: dict[str, Any] = {name: getattr(job, name) for name in STATE}
    values["status"] = job.status.value
    if job.last_error is not None:
        values["last_error"] = encode(job.last_error).decode()
    return values


def new_row(job: ScoringJob, body: str) -> dict[str, Any]:
    """Return all columns of a job."""
    return {
        "id": job.id,
        "account": job.account,
        "created_at": job.created_at,
        "body": body,
        **state_of(job),
    }


def result_row(result: ScoreResult) -> dict[str, Any]:
    """Return all columns of a result."""
    return {
        "id": result.id,
        "job_id": result.job_id,
        "memo_key": memo_key(
            item_digest=result.item_digest, score_version=result.score_version, score=result.score
        ),
        "created_at": result.created_at,
        "body": encode(result).decode(),
    }
