"""What operators do with an SQS queue: send, count, look at dead letters, move them back one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.aws import Aws, translate
from plexus_scoring.model.errors import ConfigurationError, NotFound
from plexus_scoring.transports.base import Choose, DeadMessage, QueueStats
from plexus_scoring.transports.sqs import (
    MAX_BATCH,
    change_visibility,
    redrive_target,
    string_attributes,
)
from plexus_scoring.transports.sqs_fifo import delay as sqs_delay
from plexus_scoring.transports.sqs_fifo import placing

LOOK_SECONDS = 60
"""For how long a looked-at dead letter is hidden at most; it is shown again as soon as the look ends."""
REASON_ATTRIBUTES = frozenset({"reason_code", "reason", "reason_type", "source", "truncated"})


class SqsAdmin:
    """`QueueAdmin` of an SQS queue."""

    def __init__(
        self, aws: Aws, queue_url: str, *, dead_letter_queue_url: str | None = None
    ) -> None:
        """Operate on `queue_url` and on the named dead-letter queue, or its own redrive target."""
        self._aws = aws
        self._url = queue_url
        self._dead_url = dead_letter_queue_url

    async def send(
        self, body: str, *, request_id: str, traceparent: str | None = None, delay: float = 0.0
    ) -> None:
        """Send a request. Raises StoreUnavailable, NotFound (no such queue)."""
        attributes = {"request_id": request_id}
        if traceparent:
            attributes["traceparent"] = traceparent
        await self._send(
            body, attributes, **sqs_delay(self._url, delay), **placing(self._url, request_id)
        )

    async def stats(self) -> QueueStats:
        """Count; SQS's counts are approximate."""
        live = await self.live_stats()
        dead_url = await self._dead()
        dead = (await self._attributes(dead_url)) if dead_url else {}
        return msgspec.structs.replace(
            live, dead=int(dead["ApproximateNumberOfMessages"]) if dead else None
        )

    async def live_stats(self) -> QueueStats:
        """Count what is not dead, which needs no right on the dead-letter queue."""
        about = await self._attributes(self._url)
        return QueueStats(
            waiting=int(about.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(about.get("ApproximateNumberOfMessagesNotVisible", 0)),
            delayed=int(about.get("ApproximateNumberOfMessagesDelayed", 0)),
        )

    async def dead_letters(self, limit: int) -> AsyncIterator[DeadMessage]:
        """Yield dead messages; they are shown again when the iteration ends."""
        url = await self._dead_required()
        handles: list[str] = []
        try:
            async for message in self._take(url, limit):
                handles.append(message["ReceiptHandle"])
                yield _dead(message)
        finally:
            await change_visibility(self._aws, url, [(handle, 0) for handle in handles])

    async def redrive(self, choose: Choose, *, limit: int) -> int:
        """Send each chosen message to the queue, then delete it here."""

        async def send_back(message: Any) -> None:
            attributes = string_attributes(message.get("MessageAttributes", {}))
            group = message.get("Attributes", {}).get("MessageGroupId")
            await self._send(
                message["Body"],
                {k: v for k, v in attributes.items() if k not in REASON_ATTRIBUTES},
                **placing(self._url, group or message["MessageId"], once=message["MessageId"]),
            )

        return await self._delete_chosen(choose, limit=limit, before=send_back)

    async def discard(self, choose: Choose, *, limit: int) -> int:
        """Delete each chosen message."""

        async def nothing(_message: Any) -> None: ...

        return await self._delete_chosen(choose, limit=limit, before=nothing)

    async def exists(self) -> bool:
        """Whether there is such a queue in this account and region."""
        try:
            await self._attributes(self._url)
        except ConfigurationError as error:
            if isinstance(error.__cause__, ClientError) and isinstance(
                translate(error.__cause__, ""), NotFound
            ):
                return False
            raise
        return True

    async def problem(self) -> str | None:
        """Return: nothing is known."""
        return None

    async def _delete_chosen(
        self, choose: Choose, *, limit: int, before: Callable[[Any], Awaitable[None]]
    ) -> int:
        url = await self._dead_required()
        moved = 0
        kept: list[str] = []
        try:
            async for message in self._take(url, limit):
                kept.append(message["ReceiptHandle"])
                if not await choose(_dead(message)):
                    continue
                await before(message)
                await self._call(
                    self._aws.sqs.delete_message,
                    url,
                    ReceiptHandle=message["ReceiptHandle"],
                )
                kept.pop()
                moved += 1
        finally:
            await change_visibility(self._aws, url, [(handle, 0) for handle in kept])
        return moved

    async def aclose(self) -> None:
        """Nothing to close: `Aws` belongs to who made it."""

    async def _take(self, url: str, limit: int) -> AsyncIterator[Any]:
        """Receive up to `limit` messages, each once."""
        seen: set[str] = set()
        while len(seen) < limit:
            answer = await self._call(
                self._aws.sqs.receive_message,
                url,
                MaxNumberOfMessages=min(MAX_BATCH, limit - len(seen)),
                VisibilityTimeout=LOOK_SECONDS,
                # Long enough to ask every server of the queue (AWS, "Short and long polling").
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            new = [m for m in answer.get("Messages", []) if m["MessageId"] not in seen]
            if not new:
                return
            for message in new:
                seen.add(message["MessageId"])
                yield message

    async def _send(self, body: str, attributes: dict[str, str], **more: Any) -> None:
        await self._call(
            self._aws.sqs.send_message,
            self._url,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
            **more,
        )

    async def _attributes(self, url: str) -> dict[str, str]:
        answer = await self._call(self._aws.sqs.get_queue_attributes, url, AttributeNames=["All"])
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes

    async def _dead(self) -> str | None:
        if self._dead_url is None:
            self._dead_url = await redrive_target(self._aws, self._url)
        return self._dead_url

    async def _dead_required(self) -> str:
        url = await self._dead()
        if url is None:
            raise ConfigurationError(
                f"queue {self._url} has no redrive policy: set PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL"
            )
        return url

    async def _call(self, function: Any, url: str, **arguments: Any) -> Any:
        try:
            return await self._aws.call(function, QueueUrl=url, **arguments)
        except (BotoCoreError, ClientError) as error:
            problem = translate(error, f"queue {url}")
            if isinstance(problem, NotFound):
                raise ConfigurationError(problem.message) from error
            raise problem from error


def _dead(message: Any) -> DeadMessage:
    attributes = string_attributes(message.get("MessageAttributes", {}))
    sent = message.get("Attributes", {}).get("SentTimestamp")
    return DeadMessage(
        id=message["MessageId"],
        body=message["Body"],
        reason_code=attributes.get("reason_code", "max_receive_count"),
        reason=attributes.get(
            "reason", "moved by SQS: received more often than the queue's maxReceiveCount"
        ),
        died_at=int(sent) / 1_000 if sent else None,
    )
