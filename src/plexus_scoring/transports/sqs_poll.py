"""SQS by long polls, for long-lived workers: batches of ten, batched deletes, visibility extended while we work.

SQS counts every receive, so a retry that should not count does: the queue's maxReceiveCount must leave room for it, and
PLEXUS_MAX_DELIVERIES does not end a message before.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.aws import Aws, translate
from plexus_scoring.model.disposition import Disposition
from plexus_scoring.model.errors import (
    ConfigurationError,
    ErrorInfo,
    NotFound,
    ScoringError,
    StoreUnavailable,
)
from plexus_scoring.transports.base import Delivery, Envelope
from plexus_scoring.transports.lambda_events import SqsMessage
from plexus_scoring.transports.sqs import (
    MAX_BATCH,
    DeadLetterQueue,
    SqsSender,
    change_visibility,
    redrive_policy,
    redrive_target,
    string_attributes,
)
from plexus_scoring.transports.sqs_fifo import is_fifo
from plexus_scoring.transports.sqs_messages import SqsMessages

log = logging.getLogger(__name__)

LONG_POLL_SECONDS = 20
"""SQS's longest wait for a message."""
MAX_RECEIVES = 1000
"""Of a message on a queue that has no redrive policy: SQS counts what our own limit would not."""
POLLS = 4
"""Receives under way at once while the queue is full."""
VISIBILITY_SECONDS = 60.0
"""Extended every third of it; after a crash a message comes back this late."""

Part = TypeVar("Part")


class SqsEnvelope(Envelope, frozen=True, kw_only=True):
    """A message of SQS, with what only SQS knows."""

    message: SqsMessage


class SqsDecide:
    """`consumer.Decide` for SQS: also S3 and SNS notifications, as in a Lambda function."""

    def __init__(self, messages: SqsMessages) -> None:
        """Work on messages with `messages`."""
        self._messages = messages

    async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
        """Work on one message; dead-letter one that can never work."""
        if not isinstance(envelope, SqsEnvelope):
            raise TypeError("not a message of SQS")
        return await self._messages.work_on(envelope.message, deadline)


class SqsSource:
    """Takes messages from a queue."""

    def __init__(
        self,
        aws: Aws,
        queue_url: str,
        *,
        dead_letter_queue_url: str | None = None,
        visibility_seconds: float = VISIBILITY_SECONDS,
        wait_seconds: int = LONG_POLL_SECONDS,
    ) -> None:
        """Read `queue_url`; dead letters go to the named queue, or to the queue's own redrive target."""
        self.name = queue_url
        self.hold_seconds: float | None = visibility_seconds
        self._aws = aws
        self._dead_url = dead_letter_queue_url
        self._dead: DeadLetterQueue | None = None
        self._wait = wait_seconds
        self.max_deliveries: int | None = MAX_RECEIVES
        self._polls: set[asyncio.Task[list[_SqsDelivery]]] = set()
        self._busy = False
        self._buffer: deque[_SqsDelivery] = deque()
        # Of FIFO groups with a message in our hands: what must wait for its end.
        self._groups: dict[str, deque[_SqsDelivery]] = {}
        self._freed = asyncio.Event()
        self._stopped = False
        self._refused: str | None = None
        self._deletes: _Together[str] = _Together(self._delete)
        self._visibilities: _Together[tuple[str, float]] = _Together(self._change_visibility)

    async def open(self) -> None:
        """Check the queue, and find where dead letters go."""
        try:
            await self.check()
            policy = await redrive_policy(self._aws, self.name)
            # Asked for only where none is named: it takes the right sqs:GetQueueUrl on the other queue.
            url = self._dead_url or await redrive_target(self._aws, self.name)
        except NotFound as error:
            raise ConfigurationError(error.message) from error
        if url is None:
            raise ConfigurationError(
                f"queue {self.name} has no dead-letter queue: give it a redrive policy, or set "
                "PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL"
            )
        self._dead = DeadLetterQueue(SqsSender(self._aws, url))
        # SQS itself would move the message at its next receive, and tell no reason.
        self.max_deliveries = policy[1] - 1 if policy else MAX_RECEIVES

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages: one poll while the queue is quiet, several while it is full."""
        if not self._buffer:
            if not self._stopped:
                wanted = min(POLLS, math.ceil(limit / MAX_BATCH)) if self._busy else 1
                while len(self._polls) < wanted:
                    self._polls.add(asyncio.create_task(self._poll(min(MAX_BATCH, limit))))
            if not self._polls:
                return ()
            await self._collect()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def _collect(self) -> None:
        when = asyncio.ALL_COMPLETED if self._stopped else asyncio.FIRST_COMPLETED
        self._freed.clear()
        freed = asyncio.create_task(self._freed.wait())
        try:
            waited: set[asyncio.Task[Any]] = {*self._polls}
            if not self._stopped:
                waited.add(freed)
            await asyncio.wait(waited, return_when=when)
        finally:
            freed.cancel()
        done = {poll for poll in self._polls if poll.done()}  # but for what `extend` took
        self._polls -= done
        failure: ScoringError | None = None
        for poll in done:
            error = poll.exception()
            if error is None:
                received = poll.result()
                self._busy = len(received) == MAX_BATCH
                self._queue(received)
            elif isinstance(error, ScoringError):
                failure = error
            else:
                raise error
        if failure is not None and not self._buffer:
            raise StoreUnavailable(failure.message) from failure

    async def _poll(self, limit: int) -> list[_SqsDelivery]:
        try:
            answer = await self._aws.call(
                self._aws.sqs.receive_message,
                QueueUrl=self.name,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=self._wait,
                VisibilityTimeout=math.ceil(self.hold_seconds or VISIBILITY_SECONDS),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        except (BotoCoreError, ClientError) as error:
            problem = translate(error, f"queue {self.name}")
            self._refused = problem.message if isinstance(error, ClientError) else None
            raise problem from error
        self._refused = None
        return [_SqsDelivery(self, message) for message in answer.get("Messages", [])]

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Extend these, what waits in the buffer, and what polls have brought that nobody has collected yet."""
        for poll in [poll for poll in self._polls if poll.done() and poll.exception() is None]:
            self._polls.remove(poll)
            self._queue(poll.result())
        held = [delivery for delivery in deliveries if isinstance(delivery, _SqsDelivery)]
        seconds = self.hold_seconds or VISIBILITY_SECONDS
        behind = (each for group in self._groups.values() for each in group)
        waits = [(delivery.handle, seconds) for delivery in (*held, *self._buffer, *behind)]
        if not waits:
            return
        await change_visibility(self._aws, self.name, waits)

    async def stop(self) -> None:
        """Poll no more. A poll under way is waited for: messages it brings would stay invisible."""
        self._stopped = True

    async def check(self) -> None:
        """Ask for the queue; being allowed to see it is not enough if nothing may be received. Raises NotFound too."""
        try:
            await self._aws.call(
                self._aws.sqs.get_queue_attributes,
                QueueUrl=self.name,
                AttributeNames=["VisibilityTimeout"],
            )
        except (BotoCoreError, ClientError) as error:
            raise translate(error, f"queue {self.name}") from error
        if self._refused is not None:
            raise StoreUnavailable(f"nothing can be received: {self._refused}")

    async def aclose(self) -> None:
        """Nothing to close: `Aws` belongs to who made it."""

    def _queue(self, received: Sequence[_SqsDelivery]) -> None:
        """Line up what came; of a FIFO group one message at a time."""
        for delivery in received:
            group = delivery.group
            if group is None:
                self._buffer.append(delivery)
            elif group in self._groups:
                self._groups[group].append(delivery)
            else:
                self._groups[group] = deque()
                self._buffer.append(delivery)

    async def ended(self, delivery: _SqsDelivery, *, done: bool) -> None:
        """Let the next message of the group go; where this one comes back, so must those after it."""
        if delivery.group is None:
            return
        behind = self._groups.pop(delivery.group, deque())
        if not done or self._stopped:
            for each in behind:
                await self.set_visibility(each.handle, 0)
            return
        if behind:
            self._groups[delivery.group] = behind
            self._buffer.append(behind.popleft())
            self._freed.set()

    async def delete(self, handle: str) -> None:
        """Delete, in one request with what else is deleted now."""
        await self._deletes.add(handle)

    async def set_visibility(self, handle: str, seconds: float) -> None:
        """Have a message come back after `seconds`, in one request with others."""
        await self._visibilities.add((handle, seconds))

    async def dead_letter(self, message: SqsMessage, reason: ErrorInfo) -> None:
        """Put a copy into the dead-letter queue."""
        if self._dead is None:
            raise StoreUnavailable("the dead-letter queue is not known yet")
        await self._dead.put(
            message.body,
            reason,
            attributes=message.attributes,
            source=message.queue,
            message_id=message.message_id,
            group=message.group,
        )

    async def _delete(self, handles: list[str]) -> None:
        try:
            answer = await self._aws.call(
                self._aws.sqs.delete_message_batch,
                QueueUrl=self.name,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": handle}
                    for index, handle in enumerate(handles)
                ],
            )
        except (BotoCoreError, ClientError) as error:
            raise translate(error, f"queue {self.name}") from error
        for entry in answer.get("Failed", []):
            # The message comes again, and the job's state answers it.
            log.warning("message not deleted: %s %s", entry["Code"], entry.get("Message", ""))

    async def _change_visibility(self, waits: list[tuple[str, float]]) -> None:
        await change_visibility(self._aws, self.name, waits)


class _SqsDelivery:
    """One message."""

    def __init__(self, source: SqsSource, message: Any) -> None:
        self._source = source
        self.handle: str = message["ReceiptHandle"]
        about = message.get("Attributes", {})
        sent = about.get("SentTimestamp")
        receives = int(about.get("ApproximateReceiveCount", 1))
        attributes = string_attributes(message.get("MessageAttributes", {}))
        self._message = SqsMessage(
            message_id=message["MessageId"],
            receipt_handle=self.handle,
            body=message["Body"],
            queue=source.name,
            attributes=attributes,
            sent_at=int(sent) / 1_000 if sent else None,
            receives=receives,
            group=about.get("MessageGroupId"),
        )
        self.group = self._message.group if is_fifo(source.name) else None
        self.envelope = SqsEnvelope(
            message_id=message["MessageId"],
            body=message["Body"],
            deliveries=receives,
            correlation_id=attributes.get("request_id"),
            traceparent=attributes.get("traceparent"),
            message=self._message,
        )

    async def ack(self) -> None:
        await self._deleted()

    async def _deleted(self) -> None:
        done = False
        try:
            await self._source.delete(self.handle)
            done = True
        finally:
            await self._source.ended(self, done=done)

    async def retry(self, after: float, *, counted: bool) -> None:
        del counted  # SQS counts every receive
        try:
            await self._source.set_visibility(self.handle, math.ceil(after))
        finally:
            await self._source.ended(self, done=False)

    async def dead_letter(self, reason: ErrorInfo) -> None:
        try:
            await self._source.dead_letter(self._message, reason)
        except (NotFound, StoreUnavailable) as error:
            await self._source.ended(self, done=False)
            raise StoreUnavailable(error.message) from error
        await self._deleted()

    async def abandon(self) -> None:
        await self.retry(0.0, counted=False)


class _Together(Generic[Part]):
    """Gathers what is asked for in one turn of the loop into calls for up to ten."""

    def __init__(self, call: Callable[[list[Part]], Awaitable[None]]) -> None:
        self._call = call
        self._waiting: list[tuple[Part, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, part: Part) -> None:
        """Return when the call that `part` is in has ended; raise what it raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((part, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MAX_BATCH):
            task = asyncio.create_task(self._run(waiting[start : start + MAX_BATCH]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Part, asyncio.Future[None]]]) -> None:
        failure: ScoringError | None = None
        try:
            await self._call([part for part, _ in batch])
        except ScoringError as error:
            failure = StoreUnavailable(error.message)
        for _, future in batch:
            if future.done():
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
