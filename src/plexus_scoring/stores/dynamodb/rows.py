"""How jobs and results look as items of the table.

Top-level attributes are what conditions and indexes need; everything else is one JSON document (`body`).

Jobs and results of the account "default" lie under their ids, those of other accounts under account and id. The first
layout had every account's under the id alone: `old_partition` is where such a row may still lie
(``docs/adr/0034-a-job-belongs-to-an-account.md``).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.job import DEFAULT_ACCOUNT, JobKey, JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores.codec import decode, encode, memo_key_of
from plexus_scoring.stores.content import content_digest
from plexus_scoring.stores.dynamodb import table
from plexus_scoring.stores.dynamodb.expressions import Value, number, text

JOB = "JOB"
RESULT = "RESULT"
CONTENT = "content"
"""Attribute with the digest of a job's content; rows of the first layout have none."""


def partition(key: JobKey, kind: str = JOB) -> str:
    """Return the partition of a job or, with its account and its id as `key`, of a result.

    No two keys have the same: a partition of the second kind has an ``@`` where those of the first have a ``#``.
    """
    if key.account == DEFAULT_ACCOUNT:
        return old_partition(key, kind)
    return f"{kind}@{key.text}"


def old_partition(key: JobKey, kind: str = JOB) -> str:
    """Return the partition where the first layout has a job or result."""
    return f"{kind}#{key.id}"


def job_key(of: JobKey | str) -> dict[str, Value]:
    """Return the key of a job, or of the job in a partition."""
    return _key(of if isinstance(of, str) else partition(of), JOB)


def result_key(of: JobKey | str) -> dict[str, Value]:
    """Return the key of a result by its account and id, or of the result in a partition."""
    return _key(of if isinstance(of, str) else partition(of, RESULT), RESULT)


def partition_of(item: Mapping[str, Any]) -> str:
    """Return the partition of an item or index entry."""
    return str(item[table.PARTITION_KEY]["S"])


def account_of(item: Mapping[str, Any]) -> str:
    """Return the account of a job's item or index entry."""
    return str(item[table.LISTING_HASH]["S"])


def key_of(item: Mapping[str, Any]) -> JobKey:
    """Return the key of a job's item or index entry, wherever it lies."""
    account, place = account_of(item), partition_of(item)
    if place.startswith(f"{JOB}#"):
        return JobKey(account, place.removeprefix(f"{JOB}#"))
    return JobKey(account, place.removeprefix(f"{JOB}@" + JobKey(account, "").text))


def is_of(item: Mapping[str, Any] | None, key: JobKey) -> bool:
    """Whether a job's item belongs to the key's account: under an old partition it may be another's."""
    return item is not None and account_of(item) == key.account


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
        CONTENT: text(content_digest(job)),
    }


def pending(job: ScoringJob, body: Value) -> dict[str, Value]:
    """Return the item of a new job."""
    return {
        **job_key(job.key),
        **creation(job, body),
        **state(JobStatus.PENDING, job.updated_at),
        "attempt": number(0),
        "not_before": number(job.not_before),
        table.OPEN_HASH: open_shard(job.id),
    }


def error_document(error: ErrorInfo) -> Value:
    """Return an error's attribute."""
    return text(encode(error).decode())


def job_of(item: Mapping[str, Any], body: NewJob | None = None) -> ScoringJob:
    """Return the job; without its body its content is left empty (enough to explain a refusal)."""
    content = {} if body is None else msgspec.structs.asdict(body)
    error, key = item.get("last_error"), key_of(item)
    return ScoringJob(
        **{
            "scorecard": "",
            "score": "",
            **content,
            "id": key.id,
            "account": key.account,
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
        **result_key(JobKey(result.account, result.id)),
        "job_id": text(result.job_id),
        "created_at": number(result.created_at),
        "body": body,
    }
    memo = memo_key_of(result)
    if memo is not None:
        item[table.MEMO_HASH] = text(memo)
    return item


def _key(place: str, sort: str) -> dict[str, Value]:
    return {table.PARTITION_KEY: text(place), table.SORT_KEY: text(sort)}


def _optional_number(item: Mapping[str, Any], attribute: str) -> float | None:
    value = item.get(attribute)
    return None if value is None else float(value["N"])


def _optional_text(item: Mapping[str, Any], attribute: str) -> str | None:
    value = item.get(attribute)
    return None if value is None else str(value["S"])
