"""SQS: sending in batches, dead-lettering with a reason, and moving visibility.

Calls that wait at the same moment share one batch request; nothing waits to fill a batch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.aws import Aws, error_code, translate
from plexus_scoring.model.errors import ErrorInfo, StoreUnavailable
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.transports.sqs_fifo import digest, placing

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

log = logging.getLogger(__name__)

MAX_BATCH = 10
MAX_BYTES = 1_048_576
"""Largest message, and largest batch together (AWS, "Amazon SQS message quotas")."""
MAX_VISIBILITY = 43_200
"""Twelve hours, SQS's limit of a visibility timeout."""
_SPARE_BYTES = 64  # for the mark that a dead letter was cut
_VISIBILITY_CALLS = 4  # at a time: threads of the pool stay free, and a deadline is noticed

# What SQS takes for the name of an attribute; those of a forged event may be others.
_ATTRIBUTE_NAME = re.compile(r"(?!(?i:aws|amazon)\.)(?=.{1,256}\Z)[\w-]+(\.[\w-]+)*", re.ASCII)
# SQS refuses attribute values with characters outside of XML 1.0's.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_REFUSED = frozenset(
    {
        "InvalidParameterValue",
        "InvalidMessageContents",
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
    }
)


class MessageRefused(StoreUnavailable):
    """The queue will never take this message: it is longer than the queue allows, for example."""


class OutgoingMessage(msgspec.Struct, frozen=True):
    """A message to be sent: its body and its string attributes.

    Attributes:
        group: On a FIFO queue, its message group; default: a group of its own.
        once: On a FIFO queue, what makes two messages the same one; default: every message is another.
    """

    body: str
    attributes: Mapping[str, str] = {}
    group: str | None = None
    once: str | None = None

    @property
    def size(self) -> int:
        """Bytes that count against `MAX_BYTES`."""
        return len(self.body.encode()) + sum(
            len(name) + len(value.encode()) + len("String")
            for name, value in self.attributes.items()
        )


class _Waiting(NamedTuple):
    message: OutgoingMessage
    size: int
    future: asyncio.Future[None]


class SqsSender:
    """Sends messages to one queue. Returning from `send` means that SQS has the message."""

    def __init__(self, aws: Aws, queue_url: str) -> None:
        """Send to `queue_url`."""
        self._aws = aws
        self._url = queue_url
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, message: OutgoingMessage) -> None:
        """Send one message, in one request with whatever else is waiting now.

        Raises:
            MessageRefused: the queue will never take it.
            StoreUnavailable: SQS did not take it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Waiting(message, message.size, future))
        if len(self._waiting) == 1:
            # The flush runs after everything that is ready to run now has had its turn.
            loop.call_soon(self._flush)
        await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            batch = [waiting.pop(0)]
            size = batch[0].size
            while waiting and len(batch) < MAX_BATCH and size + waiting[0].size <= MAX_BYTES:
                size += waiting[0].size
                batch.append(waiting.pop(0))
            task = asyncio.get_running_loop().create_task(self._send_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_batch(self, batch: list[_Waiting]) -> None:
        entries = [_entry(str(index), one.message, self._url) for index, one in enumerate(batch)]
        try:
            answer = await self._aws.call(
                self._aws.sqs.send_message_batch, QueueUrl=self._url, Entries=entries
            )
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who wait for this batch
            refused = error_code(error) in _REFUSED
            if refused and len(batch) > 1:  # by one of them: find it
                for one in batch:
                    await self._send_batch([one])
                return
            if isinstance(error, BotoCoreError | ClientError):
                kind = MessageRefused if refused else StoreUnavailable
                # Also for a queue that does not exist: a deployment's mistake, not the message's.
                error = kind(translate(error, f"queue {self._url}").message)
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(error)
            return
        failed = {entry["Id"]: entry for entry in answer.get("Failed", [])}
        for index, one in enumerate(batch):
            if one.future.done():
                continue
            entry = failed.get(str(index))
            if entry is None:
                one.future.set_result(None)
            else:
                reason = f"{entry['Code']}: {entry.get('Message', '')}"
                kind = MessageRefused if entry.get("SenderFault") else StoreUnavailable
                one.future.set_exception(kind(f"queue {self._url} refused a message: {reason}"))

    async def limit(self) -> int:
        """Return how many bytes the queue allows a message. Raises StoreUnavailable."""
        try:
            answer = await self._aws.call(
                self._aws.sqs.get_queue_attributes,
                QueueUrl=self._url,
                AttributeNames=["MaximumMessageSize"],
            )
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(translate(error, f"queue {self._url}").message) from error
        return int(answer.get("Attributes", {}).get("MaximumMessageSize", MAX_BYTES))


class SqsResponder:
    """Sends responses to a queue."""

    def __init__(self, sender: SqsSender) -> None:
        """Send through `sender`."""
        self._sender = sender

    async def respond(self, response: ScoringResponse) -> None:
        """Send the response. Raises StoreUnavailable."""
        attributes = {"request_id": response.request_id}
        if response.traceparent:
            attributes["traceparent"] = response.traceparent
        value, refusal = response.body(), ""
        group = response.scoring_job_id or response.request_id
        for left_out in (None, "explanation", "value"):
            if left_out is not None:
                # The stored result has it whole; a message must not be lost over its length.
                value = value | {left_out: None, "truncated": True}
            body = json.dumps(value)
            if len(body) > MAX_BYTES - 1_024 and left_out != "value":
                continue
            try:
                await self._sender.send(OutgoingMessage(body, attributes, group, digest(body)))
            except MessageRefused as error:
                refusal = error.message
            else:
                return
        # Refused for good, whatever is left out: the result is stored, and trying for ever would not send it.
        log.error("response not sent: %s", refusal)

    async def aclose(self) -> None:
        """Nothing to close: the process's `Aws` is closed by who made it."""


class DeadLetterQueue:
    """Where messages that can never work are kept, with the reason as attributes."""

    def __init__(self, sender: SqsSender) -> None:
        """Send through `sender`."""
        self._sender = sender

    async def put(
        self,
        body: str,
        reason: ErrorInfo,
        *,
        attributes: Mapping[str, str],
        source: str,
        message_id: str = "",
        group: str | None = None,
    ) -> None:
        """Keep a message. SQS allows ten attributes; ours come first.

        Args:
            body: The message as it came.
            reason: Why it can never work.
            attributes: The message's own string attributes.
            source: The queue that it came from.
            message_id: SQS's id of the message, by which a FIFO queue recognises a repetition.
            group: The message's own group.
        """
        ours = {
            "reason_code": reason.code,
            "reason": attribute_text(reason.message),
            "source": attribute_text(source),
        }
        if reason.type:
            ours["reason_type"] = reason.type
        theirs = {
            name: attribute_text(value)
            for name, value in attributes.items()
            if name not in ours and value and _ATTRIBUTE_NAME.fullmatch(name)
        }
        kept = dict(list((ours | theirs).items())[:10])
        once = digest(source, message_id) if message_id else None
        message = OutgoingMessage(attribute_text(body) or " ", kept, group, once)
        if message.size <= MAX_BYTES:
            try:
                await self._sender.send(message)
            except MessageRefused as error:
                log.warning("dead letter is shortened: %s", error)
            else:
                return
        room = await self._sender.limit() - OutgoingMessage("", ours).size - _SPARE_BYTES
        cut = message.body.encode()[: max(1, room)].decode(errors="ignore")
        short = OutgoingMessage(cut, ours | {"truncated": "true"}, group, once)
        await self._sender.send(short)


async def change_visibility(aws: Aws, queue_url: str, waits: Sequence[tuple[str, float]]) -> None:
    """Set when messages come back: pairs of receipt handle and seconds.

    A refusal is logged only: the message then comes back at the queue's own visibility timeout.
    """
    chunks = iter([waits[start : start + MAX_BATCH] for start in range(0, len(waits), MAX_BATCH)])
    refused: Counter[str] = Counter()

    async def change_some() -> None:
        for chunk in chunks:
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {
                    "Id": str(index),
                    "ReceiptHandle": handle,
                    # Up: a message that is there before its job is due uses up a receive each time.
                    "VisibilityTimeout": min(MAX_VISIBILITY, max(0, math.ceil(seconds))),
                }
                for index, (handle, seconds) in enumerate(chunk)
            ]
            try:
                answer = await aws.call(
                    aws.sqs.change_message_visibility_batch, QueueUrl=queue_url, Entries=entries
                )
            except (BotoCoreError, ClientError) as error:
                refused[str(translate(error, f"queue {queue_url}"))] += len(chunk)
                continue
            for entry in answer.get("Failed", []):
                refused[f"{entry['Code']} {entry.get('Message', '')}"] += 1

    try:
        await asyncio.gather(*(change_some() for _ in range(_VISIBILITY_CALLS)))
    finally:
        for reason, count in refused.items():
            log.warning("visibility of %d messages not changed: %s", count, reason)


async def redrive_policy(aws: Aws, queue_url: str) -> tuple[str, int] | None:
    """Return the ARN of the queue's own dead-letter queue and the receives after which SQS moves a message there.

    None: the queue has none.

    Raises:
        NotFound, StoreUnavailable: the queue cannot be asked.
    """
    try:
        answer = await aws.call(
            aws.sqs.get_queue_attributes, QueueUrl=queue_url, AttributeNames=["RedrivePolicy"]
        )
    except (BotoCoreError, ClientError) as error:
        raise translate(error, f"queue {queue_url}") from error
    policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    arn = str(policy.get("deadLetterTargetArn", ""))
    return (arn, int(policy["maxReceiveCount"])) if arn else None


async def redrive_target(aws: Aws, queue_url: str) -> str | None:
    """Return the URL of the queue's own dead-letter queue, or None if it has none. Raises as `redrive_policy`."""
    policy = await redrive_policy(aws, queue_url)
    if policy is None:
        return None
    account, name = policy[0].split(":")[4:6]
    try:
        found = await aws.call(
            aws.sqs.get_queue_url, QueueName=name, QueueOwnerAWSAccountId=account
        )
    except (BotoCoreError, ClientError) as error:
        raise translate(error, f"queue {queue_url}") from error
    return str(found["QueueUrl"])


def attribute_text(text: str) -> str:
    """Return `text` with the characters that SQS refuses replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def string_attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the string attributes of a received message, in either spelling.

    Lambda events spell ``stringValue``, ReceiveMessage ``StringValue``.
    """
    values = {
        name: value.get("stringValue", value.get("StringValue"))
        for name, value in attributes.items()
        if isinstance(value, Mapping)
    }
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _entry(
    entry_id: str, message: OutgoingMessage, queue_url: str
) -> SendMessageBatchRequestEntryTypeDef:
    attributes: dict[str, MessageAttributeValueTypeDef] = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in message.attributes.items()
    }
    entry: SendMessageBatchRequestEntryTypeDef = {
        "Id": entry_id,
        "MessageBody": message.body,
        "MessageAttributes": attributes,
    }
    group = message.group or digest(message.body)
    entry.update(placing(queue_url, group, once=message.once))  # type: ignore[typeddict-item]
    return entry
