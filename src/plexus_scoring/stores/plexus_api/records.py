"""The API's records as our words, and back.

Field names are those of Plexus's schema; ``AWSJSON`` is JSON text inside a string, ``AWSDateTime`` ISO 8601.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from plexus_scoring.model import typed
from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import AttachmentKeys, ScoreResult
from plexus_scoring.stores.codec import encode

log = logging.getLogger(__name__)

MAX_ERROR_CHARACTERS = 255
# DynamoDB's items end at 400 KB, and one mutation at AppSync's 1 MB; the rest of a record needs room, too.
MAX_FIELD_BYTES = 100_000
MAX_TEXT_BYTES = 300_000
_CUT = "… (cut: the whole text is in the service's own store)"

Record = dict[str, Any]


def timestamp(now: float) -> str:
    """Return a point in time as AWSDateTime."""
    return (
        datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def seconds(value: Any) -> float | None:
    """Return an AWSDateTime as seconds since the epoch, None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def json_object(value: Any, what: str) -> dict[str, Any]:
    """Return an AWSJSON field that should hold an object; some writers encode it twice.

    Strings inside it stay strings: ``"123"`` is not a number because it looks like one.
    """
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = msgspec.json.decode(value)  # noqa: TID251  of no type
        except (msgspec.DecodeError, RecursionError):
            log.warning("%s is not JSON: taken as empty", what)
            return {}
    if value is None or isinstance(value, dict):
        return value or {}
    log.warning("%s is JSON, but no object: taken as empty", what)
    return {}


def item_of(record: Record, *, account: str | None) -> Item:
    """Return an Item record; its text is None where it lies elsewhere."""
    item_id = str(record["id"])
    text = record.get("text")
    files = tuple(str(file) for file in record.get("attachedFiles") or () if file)
    if text is None and files:
        text = ""  # the files are the text
    return Item(
        id=item_id,
        text=text if isinstance(text, str) else None,
        attached_files=files,
        metadata=json_object(record.get("metadata"), f"metadata of item {item_id}"),
        external_id=record.get("externalId") or None,
        account_id=account,
    )


def account_key(record: Record) -> str | None:
    """Return the key of the account that a record belongs to, where the API told."""
    account = record.get("account")
    key = account.get("key") if isinstance(account, dict) else None
    return key if isinstance(key, str) else None


def status_of(record: Record) -> JobStatus:
    """Return a job's status; a word that Plexus's job path does not write counts as PENDING."""
    try:
        return JobStatus(str(record.get("status")).upper())
    except ValueError:
        return JobStatus.PENDING


def new_job_of(record: Record, *, account: str) -> NewJob:
    """Return a ScoringJob record as the job that our lease store is to hold."""
    return NewJob(
        id=str(record["id"]),
        scorecard=str(record["scorecardId"]),
        score=str(record.get("scoreId") or ""),
        item_id=str(record["itemId"]),
        account=account,
        metadata=json_object(record.get("metadata"), f"metadata of job {record['id']}"),
    )


def job_of(record: Record, *, account: str, result_id: str | None = None) -> ScoringJob:
    """Return a ScoringJob record that our lease store does not know."""
    new = new_job_of(record, account=account)
    created = seconds(record.get("createdAt")) or 0.0
    message = record.get("errorMessage")
    return ScoringJob(
        id=new.id,
        scorecard=new.scorecard,
        score=new.score,
        item_id=new.item_id,
        account=account,
        metadata=new.metadata,
        status=status_of(record),
        created_at=created,
        updated_at=seconds(record.get("updatedAt")) or created,
        started_at=seconds(record.get("startedAt")),
        completed_at=seconds(record.get("completedAt")),
        last_error=ErrorInfo(code="failed", message=str(message)) if message else None,
        result_id=result_id,
    )


def result_of(record: Record, *, account: str) -> ScoreResult:
    """Return a ScoreResult record that another worker wrote."""
    keys = [key for key in record.get("attachments") or [] if isinstance(key, str)]
    metadata = json_object(record.get("metadata"), f"metadata of result {record['id']}")
    return ScoreResult(
        id=str(record["id"]),
        job_id=str(record.get("scoringJobId") or ""),
        scorecard=str(record["scorecardId"]),
        score=str(record.get("scoreId") or ""),
        value=str(record["value"]),
        created_at=seconds(record.get("createdAt")) or 0.0,
        item_id=record.get("itemId"),
        account=account,
        explanation=record.get("explanation") or metadata.get("explanation"),
        confidence=record.get("confidence"),
        cost=_cost(record),
        attachments=AttachmentKeys(
            trace=next((key for key in keys if key.endswith(".json")), None),
            log=next((key for key in keys if key.endswith(".txt")), None),
        ),
    )


def _cost(record: Record) -> Cost:
    value = json_object(record.get("cost"), f"cost of result {record['id']}")
    try:
        return typed.convert(value, Cost, strict=False)
    except msgspec.ValidationError:
        log.warning("cost of result %s is not understood: taken as none", record["id"])
        return Cost()


def cut(text: str | None, limit: int = MAX_FIELD_BYTES) -> str | None:
    """Return a text that fits into a field; `limit` is in bytes of JSON, where a control character takes six."""
    if text is None or fits(text, limit):
        return text
    return text[: limit // 6 - len(_CUT)] + _CUT


def fits(text: str, limit: int) -> bool:
    """Whether a text takes no more than `limit` bytes of JSON."""
    return len(text) * 6 <= limit or len(encode(text)) <= limit


def awsjson(value: Any, limit: int = MAX_FIELD_BYTES) -> str | None:
    """Return a value as AWSJSON; None where it is too large for a field."""
    body = encode(value)
    return body.decode() if len(body) <= limit else None


def without_nothing(record: Record) -> Record:
    """Return the record without its Nones: an index's key may be absent, never null or empty."""
    return {name: value for name, value in record.items() if value is not None}


def reference(value: str | None) -> str:
    """Return an id for a field that may not be empty."""
    return value or "none"
