"""How jobs and results look as items of the table.

Top-level attributes are what conditions and indexes need; everything else is one JSON document (`body`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores.codec import decode, encode, memo_key
from plexus_scoring.stores.dynamodb import table
from plexus_scoring.stores.dynamodb.expressions import Value, number, text

JOB = "JOB"
RESULT = "RESULT"


def job_key(job_id: str) -> dict[str, Value]:
    """Return a job's key."""
    return {table.PARTITION_KEY: text(f"JOB#{job_id}"), table.SORT_KEY: text(JOB)}


def result_key(result_id: str) -> dict[str, Value]:
    """Return a result's key."""
    return {table.PARTITION_KEY: text(f"RESULT#{result_id}"), table.SORT_KEY: text(RESULT)}


def job_id_of(item: Mapping[str, Any]) -> str:
    """Return the id of a job's item or index entry."""
    partition: str = item[table.PARTITION_KEY]["S"]
    return partition.removeprefix("JOB#")


def state(status: JobStatus, updated_at: float) -> dict[str, Value]:
    """Return the attributes that every change of state sets."""
    return {
        "status": text(status),
        table.LISTING_RANGE: text(status_time(status, updated_at)),
        "updated_at": number(updated_at),
    }


def status_time(status: JobStatus, updated_at: float) -> str:
    """Return the listing's sort key: as text it sorts like the time, in microseconds."""
    return f"{status}#{updated_at:019.6f}"


def open_shard(job_id: str) -> Value:
    """Return the partition of the index of open jobs that a job belongs to."""
    return text(f"OPEN#{zlib.crc32(job_id.encode()) % table.OPEN_SHARDS}")


def creation(job: ScoringJob, body: Value) -> dict[str, Value]:
    """Return the attributes that never change once a job exists."""
    return {
        table.LISTING_HASH: text(job.account),
        "created_at": number(job.created_at),
        "body": body,
    }


def error_document(error: ErrorInfo) -> Value:
    """Return an error's attribute."""
    return text(encode(error).decode())


def job_of(item: Mapping[str, Any], body: NewJob | None = None) -> ScoringJob:
    """Return the job; without its body its content is left empty (enough to explain a refusal)."""
    content = {} if body is None else msgspec.structs.asdict(body)
    error = item.get("last_error")
    return ScoringJob(
        **{
            "scorecard": "",
            "score": "",
            **content,
            "id": job_id_of(item),
            "account": item[table.LISTING_HASH]["S"],
        },
        status=JobStatus(item["status"]["S"]),
        created_at=float(item["created_at"]["N"]),
        updated_at=float(item["updated_at"]["N"]),
        attempt=int(float(item["attempt"]["N"])),
        not_before=float(item["not_before"]["N"]),
        started_at=_optional_number(item, "started_at"),
        completed_at=_optional_number(item, "completed_at"),
        lease_token=_optional_text(item, "lease_token"),
        lease_expires_at=_optional_number(item, "lease_expires_at"),
        last_error=None if error is None else decode(error["S"], ErrorInfo),
        result_id=_optional_text(item, "result_id"),
    )


def result_item(result: ScoreResult, body: Value) -> dict[str, Value]:
    """Return a result's item."""
    item = {
        **result_key(result.id),
        "job_id": text(result.job_id),
        "created_at": number(result.created_at),
        "body": body,
    }
    memo = memo_key(
        item_digest=result.item_digest, score_version=result.score_version, score=result.score
    )
    if memo is not None:
        item[table.MEMO_HASH] = text(memo)
    return item


def _optional_number(item: Mapping[str, Any], attribute: str) -> float | None:
    value = item.get(attribute)
    return None if value is None else float(value["N"])


def _optional_text(item: Mapping[str, Any], attribute: str) -> str | None:
    value = item.get(attribute)
    return None if value is None else str(value["S"])
