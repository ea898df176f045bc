"""Reads what can invoke the scoring function: no I/O, only shapes.

Accepted, alone or inside an SQS message or an SNS notification: a request, an S3 ObjectCreated notification
(AWS, "Event message structure"), its EventBridge form. Also upstream's fan-out event and the empty event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.job import DEFAULT_ACCOUNT
from plexus_scoring.model.messages import (
    ScoringRequest,
    decode_json,
    parse_request,
    well_formed_value,
)
from plexus_scoring.transports.sqs import string_attributes


class SqsMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an SQS queue, however it came.

    Attributes:
        queue: ARN or URL of the queue.
        sent_at: Seconds since the epoch when it was first sent, if told.
        group: Its message group, on FIFO and fair queues.
    """

    message_id: str
    receipt_handle: str
    body: str
    queue: str
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    sent_at: float | None = None
    group: str | None = None


class ObjectCreated(msgspec.Struct, frozen=True, kw_only=True):
    """An object that arrived. `tag` tells this version of it from the next one at the same key."""

    ref: ObjectRef
    tag: str = ""


class Poll(msgspec.Struct, frozen=True):
    """The empty event: work on one waiting message or job."""


Work = ScoringRequest | ObjectCreated


def read_event(
    event: object, *, default_account: str = "default"
) -> list[SqsMessage] | list[Work] | SqsMessage | Poll:
    """Return what an event asks for: messages of an event source, direct work, a fan-out message, or a poll.

    Raises:
        InvalidRequest: the event is of none of these shapes.
    """
    if event is None or event == {}:
        return Poll()
    if not isinstance(event, Mapping):
        raise InvalidRequest(f"the event must be a JSON object, not {type(event).__name__}")
    records = event.get("Records")
    if isinstance(records, list) and records and _source(records[0]) == "aws:sqs":
        return [_sqs_record(record) for record in records]
    # The runtime client decodes the event, so what `decode_json` sees to in a message's body is seen to here.
    try:
        clean = well_formed_value(event)
    except RecursionError:
        raise InvalidRequest("the event is not usable: it is nested too deeply") from None
    if clean.get("source") == "fanout":
        return _fan_out(clean)
    return read_work(clean, default_account=default_account)


def read_body(body: str, *, default_account: str = "default") -> list[Work]:
    """Return the work that a message's body asks for. Raises InvalidRequest."""
    return read_work(decode_json(body), default_account=default_account)


def read_work(
    value: object, *, default_account: str = "default", correlation_id: str | None = None
) -> list[Work]:
    """Return the work that a decoded body or event asks for; an S3 test event asks for none.

    `correlation_id` is that of the message, see `parse_request`: a request inside a notification is another exchange.

    Raises:
        InvalidRequest: it is of none of the accepted shapes.
    """
    if not isinstance(value, dict):
        return [parse_request(msgspec.json.encode(value))]
    if value.get("Event") == "s3:TestEvent":
        return []
    records = value.get("Records")
    if isinstance(records, list):
        return [work for record in records for work in _record(record, default_account)]
    if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
        return read_body(value["Message"], default_account=default_account)
    if value.get("source") == "aws.s3" and isinstance(value.get("detail"), dict):
        return list(_objects(value["detail"], decode_key=False))
    return [parse_request(value, default_account=default_account, correlation_id=correlation_id)]


def encode_work(work: Work) -> str:
    """Return a message body that asks for the same work, under the same id."""
    if isinstance(work, ObjectCreated):
        detail = {
            "bucket": {"name": work.ref.bucket},
            "object": {"key": work.ref.key, "sequencer": work.tag},
        }
        return json.dumps({"source": "aws.s3", "detail": detail})
    body: dict[str, Any] = dict(work.extra) | {"request_id": work.request_id}
    if work.new is None:
        body["scoring_job_id"] = work.scoring_job_id
        if work.account != DEFAULT_ACCOUNT:
            body["account"] = work.account
    else:
        item = work.new.item
        body |= {
            "scorecard": work.new.scorecard,
            "score": work.new.score,
            "account": work.new.account,
        }
        body["item"] = {"id": work.new.item_id} if item is None else msgspec.to_builtins(item)
    body |= {
        name: value
        for name, value in (("reply_to", work.reply_to), ("traceparent", work.traceparent))
        if value is not None
    }
    return json.dumps(body)


def _record(record: object, default_account: str) -> Iterator[Work]:
    source = _source(record)
    if isinstance(record, dict) and source == "aws:s3" and isinstance(record.get("s3"), dict):
        if str(record.get("eventName", "ObjectCreated:")).startswith("ObjectCreated:"):
            yield from _objects(record["s3"], decode_key=True)
    elif isinstance(record, dict) and source == "aws:sns":
        notification = record.get("Sns")
        message = notification.get("Message") if isinstance(notification, dict) else None
        if not isinstance(message, str):
            raise InvalidRequest("the SNS record has no Message")
        yield from read_body(message, default_account=default_account)
    else:
        raise InvalidRequest(f"a record of {source or 'no known source'} is not a scoring request")


def _objects(detail: Mapping[str, Any], *, decode_key: bool) -> Iterator[ObjectCreated]:
    try:
        bucket, thing = detail["bucket"]["name"], detail["object"]
        key = thing["key"]
    except (KeyError, TypeError):
        raise InvalidRequest("the S3 notification has no bucket.name or no object.key") from None
    if not (isinstance(bucket, str) and isinstance(key, str) and bucket and key):
        raise InvalidRequest("the S3 notification's bucket or key is not a name")
    # S3's own notifications have URL-encoded keys, EventBridge's have not.
    key = unquote_plus(key) if decode_key else key
    version = thing.get("versionId") or thing.get("version-id")
    tag = version or thing.get("sequencer") or thing.get("eTag") or thing.get("etag") or ""
    yield ObjectCreated(ref=ObjectRef(bucket, key), tag=str(tag))


def _sqs_record(record: Mapping[str, Any]) -> SqsMessage:
    try:
        about = record.get("attributes") or {}
        sent = about.get("SentTimestamp")
        return SqsMessage(
            message_id=record["messageId"],
            receipt_handle=record["receiptHandle"],
            body=record["body"],
            queue=record.get("eventSourceARN", ""),
            attributes=string_attributes(record.get("messageAttributes") or {}),
            sent_at=int(sent) / 1000 if sent else None,
            group=about.get("MessageGroupId"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"the SQS record is malformed: {error!r}") from error


def _fan_out(event: Mapping[str, Any]) -> SqsMessage:
    body, handle, queue = (
        event.get(name) for name in ("message_body", "receipt_handle", "queue_url")
    )
    if not (isinstance(handle, str) and isinstance(queue, str) and body is not None):
        raise InvalidRequest("a fan-out event needs message_body, receipt_handle and queue_url")
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    return SqsMessage(message_id=handle[:80], receipt_handle=handle, body=text, queue=queue)


def _source(record: object) -> str:
    if not isinstance(record, Mapping):
        return ""
    return str(record.get("eventSource") or record.get("EventSource") or "")
