"""Reads what can invoke the scoring function: no I/O, only shapes.

Accepted, alone or inside an SQS message or an SNS notification: a request, an S3 ObjectCreated notification
(AWS, "Event message structure"), its EventBridge form. Also upstream's fan-out event and the empty event.

Whoever may invoke the function may also forge an event. A record that cannot be read is `Unreadable` or has a
`problem`; it takes no other record of its event along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.job import DEFAULT_ACCOUNT
from plexus_scoring.model.messages import (
    ScoringRequest,
    decode_json,
    not_an_object,
    parse_request,
    well_formed,
    well_formed_value,
)
from plexus_scoring.transports.sqs import string_attributes

# Anything longer is no time in milliseconds of an age that has SQS.
_MILLISECONDS = re.compile("[0-9]{1,15}")
_RECEIVES = re.compile("[1-9][0-9]{0,5}")
# Of what SQS could have given, so that the answer with it is one that Lambda reads.
_MESSAGE_ID = re.compile("[!-~]{1,100}")
_CREATED = "ObjectCreated:"
_BRIDGE_CREATED = "Object Created"
_MAX_NAMED = 100
# The class that SQS's extended clients name before a pointer, the present one and the one before.
_POINTERS = (".PayloadS3Pointer", ".MessageS3Pointer")


class SqsMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an SQS queue, however it came.

    Attributes:
        message_id: Empty if the record has none that a partial batch response could name.
        receipt_handle: Empty if the record has none; when the message comes back can then not be set.
        body: The text; of a record with a problem, the record.
        queue: ARN or URL of the queue, if told.
        sent_at: Seconds since the epoch when it was first sent, if told.
        receives: How often it was received, this time included (SQS's ApproximateReceiveCount); 1 if not told.
        group: Its message group, on FIFO and fair queues.
        problem: Why the record can never be worked on.
    """

    message_id: str
    receipt_handle: str
    body: str
    queue: str
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    sent_at: float | None = None
    receives: int = 1
    group: str | None = None
    problem: str | None = None


class ObjectCreated(msgspec.Struct, frozen=True, kw_only=True):
    """An object that arrived. `tag` tells this version of it from the next one at the same key."""

    ref: ObjectRef
    tag: str = ""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an event or message that is none of the accepted shapes, beside parts that may be."""

    record: Any
    problem: str


class Poll(msgspec.Struct, frozen=True):
    """The empty event: work on one waiting message or job."""


Work = ScoringRequest | ObjectCreated | Unreadable


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
    if isinstance(records, list) and any(_source(record) == "aws:sqs" for record in records):
        return [_sqs_record(record) for record in records]
    # The runtime client decodes the event, so what `decode_json` sees to in a message's body is seen to here.
    if isinstance(records, list):
        return _notified([_well_formed(record) for record in records], default_account)
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
        InvalidRequest: it is of none of the accepted shapes. A part of a notification is `Unreadable` instead.
    """
    if not isinstance(value, dict):
        raise not_an_object(value)
    if value.get("Event") == "s3:TestEvent":
        return []
    records = value.get("Records")
    if isinstance(records, list):
        return _notified(records, default_account)
    if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
        return read_body(value["Message"], default_account=default_account)
    if value.get("source") == "aws.s3" and "detail" in value:
        # A rule on the bucket alone also brings "Object Deleted", "Object Tags Added" and others.
        if value.get("detail-type", _BRIDGE_CREATED) != _BRIDGE_CREATED:
            return []
        return _read(value, lambda: _objects(value["detail"], decode_key=False))
    return [parse_request(value, default_account=default_account, correlation_id=correlation_id)]


def encode_work(work: Work) -> str:
    """Return a message body that asks for the same work, under the same id."""
    if isinstance(work, Unreadable):
        return _dumped(work.record)
    if isinstance(work, ObjectCreated):
        thing = {"key": work.ref.key, "sequencer": work.tag}
        if work.ref.version is not None:
            thing["version-id"] = work.ref.version
        detail = {"bucket": {"name": work.ref.bucket}, "object": thing}
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


def _well_formed(value: object) -> object:
    try:
        return well_formed_value(value)
    except RecursionError:
        return "(nested too deeply)"


def _notified(records: list[Any], default_account: str) -> list[Work]:
    sources = [_source(record) for record in records]
    if sources and not {"aws:s3", "aws:sns"} & set(sources):
        raise InvalidRequest(f"a record of {_named(sources[0])} is not a scoring request")
    return [work for record in records for work in _parts(record, default_account)]


def _parts(record: object, default_account: str) -> list[Work]:
    return _read(record, lambda: _record(record, default_account))


def _read(record: object, parts: Callable[[], Iterable[Work]]) -> list[Work]:
    """Return the parts, or what stands in for a record that has none that can be read."""
    try:
        return list(parts())
    except InvalidRequest as error:
        return [Unreadable(record=record, problem=error.message)]


def _record(record: object, default_account: str) -> Iterable[Work]:
    source = _source(record)
    if isinstance(record, dict) and source == "aws:s3":
        event = record.get("eventName", "ObjectCreated:")
        if not isinstance(event, str):
            raise InvalidRequest("the S3 record's eventName is not a name")
        # Notifications of other events may be subscribed to as well; they ask for nothing.
        return _objects(record.get("s3"), decode_key=True) if event.startswith(_CREATED) else ()
    if isinstance(record, dict) and source == "aws:sns":
        notification = record.get("Sns")
        message = notification.get("Message") if isinstance(notification, dict) else None
        if not isinstance(message, str):
            raise InvalidRequest("the SNS record has no Message")
        return read_body(message, default_account=default_account)
    raise InvalidRequest(f"a record of {_named(source)} is not a scoring request")


def _objects(detail: object, *, decode_key: bool) -> list[ObjectCreated]:
    bucket, thing = _field(detail, "bucket"), _field(detail, "object")
    name, key = _field(bucket, "name"), _field(thing, "key")
    if not (isinstance(name, str) and isinstance(key, str) and name and key):
        raise InvalidRequest("the S3 notification has no bucket.name or no object.key")
    # S3's own notifications have URL-encoded keys, EventBridge's have not.
    key = unquote_plus(key) if decode_key else key
    if key.endswith("/"):
        return []  # what consoles make of "create folder"; it has no text
    tags = (_field(thing, tag) for tag in ("versionId", "version-id", "sequencer", "eTag", "etag"))
    tag = next((tag for tag in tags if isinstance(tag, str) and tag), "")
    versions = (_field(thing, name) for name in ("versionId", "version-id"))
    version = next((each for each in versions if isinstance(each, str) and each), None)
    return [ObjectCreated(ref=ObjectRef(name, key, version), tag=tag)]


def pointed_to(value: object) -> ObjectRef | None:
    """Return where the body of a message of SQS's extended client lies; None for any other body.

    Raises InvalidRequest for a pointer that names no object.
    """
    if _field(value, "Type") == "Notification" and _text(_field(value, "Message"))[:1] == "[":
        value = decode_json(_text(_field(value, "Message")))  # through a topic
    if not (isinstance(value, list) and value and isinstance(value[0], str)):
        return None
    if not value[0].endswith(_POINTERS):
        return None
    about = value[1] if len(value) == 2 else None  # noqa: PLR2004  class and fields
    bucket, key = _field(about, "s3BucketName"), _field(about, "s3Key")
    if not (_is_text(bucket) and _is_text(key)):
        raise InvalidRequest(
            "the message is a pointer of SQS's extended client (PayloadS3Pointer) without s3BucketName or s3Key"
        )
    return ObjectRef(bucket, key)


def _sqs_record(record: object) -> SqsMessage:
    """Return the message of a record. Only its id and its body are needed; what else is amiss is left out."""
    message_id, body = _field(record, "messageId"), _field(record, "body")
    about = _field(record, "attributes")
    sent, group = _field(about, "SentTimestamp"), _field(about, "MessageGroupId")
    receives = _field(about, "ApproximateReceiveCount")
    attributes = _field(record, "messageAttributes")
    problem = None
    if not _is_text(message_id) or _MESSAGE_ID.fullmatch(message_id) is None:
        message_id, problem = "", "the SQS record has no messageId"
    if not isinstance(body, str):
        problem = "the SQS record has no body"
    return SqsMessage(
        message_id=message_id,
        receipt_handle=_text(_field(record, "receiptHandle")),
        body=_dumped(record) if problem else body if body.isascii() else well_formed(body),
        queue=_text(_field(record, "eventSourceARN")),
        attributes=string_attributes(attributes) if isinstance(attributes, Mapping) else {},
        sent_at=int(sent) / 1000 if _is_text(sent) and _MILLISECONDS.fullmatch(sent) else None,
        receives=int(receives) if _is_text(receives) and _RECEIVES.fullmatch(receives) else 1,
        group=group if _is_text(group) else None,
        problem=problem,
    )


def _fan_out(event: Mapping[str, Any]) -> SqsMessage:
    body, handle, queue = (
        event.get(name) for name in ("message_body", "receipt_handle", "queue_url")
    )
    if not (isinstance(handle, str) and isinstance(queue, str) and body is not None):
        raise InvalidRequest("a fan-out event needs message_body, receipt_handle and queue_url")
    text = body if isinstance(body, str) else json.dumps(body)
    return SqsMessage(message_id=handle[:80], receipt_handle=handle, body=text, queue=queue)


def _source(record: object) -> str:
    return _text(_field(record, "eventSource")) or _text(_field(record, "EventSource"))


def _named(source: str) -> str:
    return source[:_MAX_NAMED] or "no known source"


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dumped(record: object) -> str:
    """Return a record as JSON, for whoever looks at the dead letters."""
    try:
        return json.dumps(record)
    except (RecursionError, ValueError):
        return "(a record that JSON cannot hold: nested too deeply, or a number of too many digits)"
