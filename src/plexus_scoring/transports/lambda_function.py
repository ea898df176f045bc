"""Works on whatever invoked the scoring function.

An exception would fail a whole batch and an empty failure list would mean success, so every record gets its own
answer, and whatever is not surely done is reported (AWS, "Implementing partial batch responses"). A malformed record
is dead-lettered. One that cannot be, and has no id to be reported by, is reported by an empty one: Lambda then brings
the whole batch back, in which what was done is a duplicate.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.aws import Aws, translate
from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.messages import ScoringRequest, ScoringResponse
from plexus_scoring.ports import ANSWERED, Clock
from plexus_scoring.transports.base import Gate, growing_delay
from plexus_scoring.transports.lambda_events import (
    ObjectCreated,
    Poll,
    SqsMessage,
    Unreadable,
    Work,
    encode_work,
    read_event,
)
from plexus_scoring.transports.sqs import change_visibility, string_attributes
from plexus_scoring.transports.sqs_fifo import delay as sqs_delay
from plexus_scoring.transports.sqs_fifo import placing
from plexus_scoring.transports.sqs_messages import SqsMessages, summary

log = logging.getLogger(__name__)

UNFORESEEN_RETRY_SECONDS = 30.0
SHUT_OUT_RETRY_SECONDS = 5.0


class OldestJob(Protocol):
    """The service's way to work without a message."""

    async def __call__(
        self, *, account: str | None = None, deadline: float | None = None
    ) -> tuple[str, Disposition] | None:
        """Claim and work on the oldest due job."""
        ...


class RetryLater(RuntimeError):
    """Work that no queue stands behind must be repeated by whoever invoked the function."""


class ScoringFunction:
    """What the scoring function does, apart from being a Lambda function."""

    def __init__(
        self,
        *,
        messages: SqsMessages,
        handle_oldest: OldestJob,
        aws: Aws,
        clock: Clock,
        request_queue_url: str | None,
        account: str = "default",
        concurrency: int = 100,
        margin: float = 3.0,
        gate: Gate | None = None,
    ) -> None:
        """Put the parts together.

        `margin` seconds of an invocation are kept for releasing jobs. While `gate` is shut, records go back unopened.
        """
        self._messages = messages
        self._handle_oldest = handle_oldest
        self._aws = aws
        self._clock = clock
        self._request_queue_url = request_queue_url
        self._account = account
        self._concurrency = concurrency
        self._margin = margin
        self._gate = gate

    async def run(self, event: object, *, remaining: float) -> dict[str, Any]:
        """Work on an event.

        Args:
            event: What Lambda was invoked with.
            remaining: Seconds until Lambda ends the invocation; 0 is no time, not no limit.

        Returns:
            The partial batch response for SQS records, else a summary of what was done.

        Raises:
            InvalidRequest: the event is none that we know.
            RetryLater: work without a queue behind it must be repeated.
        """
        ends = self._clock.now() + remaining
        deadline = ends - self._margin
        work = read_event(event, default_account=self._account)
        if isinstance(work, Poll):
            return await self._poll(deadline)
        if isinstance(work, SqsMessage):
            return await self._settled([work], deadline)
        records = [part for part in work if isinstance(part, SqsMessage)]
        if records:
            return await self._batch(records, deadline, ends)
        return await self._direct(
            [part for part in work if not isinstance(part, SqsMessage)], deadline
        )

    async def _batch(
        self, messages: list[SqsMessage], deadline: float, ends: float
    ) -> dict[str, Any]:
        """Work on the records of an event source mapping, up to the bound at once.

        No record is begun after the deadline, a margin before the end. What still runs half a margin before the end
        is cut and released; until a quarter before it, the open messages are set to come back. The last quarter is
        for the answer and the metrics: were it late, Lambda would fail the whole batch.

        After a dependency was away, one record finds out whether it is back before the others are begun.
        """
        answers: dict[int, Ack | Retry] = {}
        lanes = iter(_lanes(messages))
        tried = asyncio.Event()

        async def work_on_lanes(number: int) -> None:
            if number > 0 and self._gate is not None and self._gate.on_trial:
                await tried.wait()
            for lane in lanes:
                await self._work_on_lane(lane, messages, answers, deadline)
                tried.set()

        count = min(self._concurrency, len(messages))
        workers = [asyncio.create_task(work_on_lanes(number)) for number in range(count)]
        cut = ends - self._margin / 2
        _, late = await asyncio.wait(workers, timeout=max(0.0, cut - self._clock.now()))
        for task in late:
            # The service gives each job back as it is cancelled; what it cannot, the lease's end does.
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=self._margin / 8)
        open_ = [
            (message, answers.get(place))
            for place, message in enumerate(messages)
            if not isinstance(answers.get(place), Ack)
        ]
        unanswered = sum(answer is None for _, answer in open_)
        if unanswered:
            log.warning("out of time or order: %d records go back to the queue", unanswered)
        await self._hide(open_, until=ends - self._margin / 4)
        return {"batchItemFailures": [{"itemIdentifier": m.message_id} for m, _ in open_]}

    async def _work_on_lane(
        self,
        lane: list[int],
        messages: list[SqsMessage],
        answers: dict[int, Ack | Retry],
        deadline: float,
    ) -> None:
        for place in lane:
            if self._clock.now() >= deadline:
                return
            answers[place] = answer = await self._answer(messages[place], deadline)
            if isinstance(answer, Retry):
                return  # what follows in a FIFO group must not overtake it

    async def _answer(self, message: SqsMessage, deadline: float) -> Ack | Retry:
        """Work on one record; whatever goes wrong there is its own affair."""
        if self._gate is not None and not self._gate.is_open:
            return Retry(growing_delay(SHUT_OUT_RETRY_SECONDS, message.receives), counted=False)
        try:
            return await self._messages.work_on(message, deadline)
        except Exception:
            log.exception("message %s: unexpected error, it goes back", message.message_id)
            return Retry(growing_delay(UNFORESEEN_RETRY_SECONDS, message.receives))

    async def _hide(
        self, open_: list[tuple[SqsMessage, Ack | Retry | None]], *, until: float
    ) -> None:
        """Set when open messages come back: at once if they were not begun or were cut.

        Best effort: what is not reached in time comes back at the queue's own visibility timeout.
        """
        waits = [
            (message.receipt_handle, answer.after if isinstance(answer, Retry) else 0.0)
            for message, answer in open_
            if message.receipt_handle
        ]
        if not waits or self._request_queue_url is None:
            return
        try:
            async with asyncio.timeout(max(0.0, until - self._clock.now())):
                await change_visibility(self._aws, self._request_queue_url, waits)
        except TimeoutError:
            log.warning("no time to set when messages come back: the queue's own timeout holds")

    async def _poll(self, deadline: float) -> dict[str, Any]:
        """The empty event: one message, or with no queue set the oldest PENDING job."""
        if self._request_queue_url is None:
            with _waiting() as answers:
                done = await self._handle_oldest(account=self._account, deadline=deadline)
            return _told([done] if done else [], [answers])
        url = self._request_queue_url
        try:
            answer = await self._aws.call(
                self._aws.sqs.receive_message,
                QueueUrl=url,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        except (BotoCoreError, ClientError) as error:
            raise translate(error, f"queue {url}") from error
        received = [
            SqsMessage(
                message_id=message["MessageId"],
                receipt_handle=message["ReceiptHandle"],
                body=message["Body"],
                queue=url,
                attributes=string_attributes(message.get("MessageAttributes", {})),
                group=message.get("Attributes", {}).get("MessageGroupId"),
            )
            for message in answer.get("Messages", [])
        ]
        return await self._settled(received, deadline)

    async def _settled(self, messages: list[SqsMessage], deadline: float) -> dict[str, Any]:
        """Work on messages that no event source mapping will delete for us."""
        done: list[tuple[str, Disposition]] = []
        answers: list[list[ScoringResponse]] = []
        for message in messages:
            with _waiting() as responses:
                answer = await self._messages.work_on(message, deadline)
            await self._messages.settle(message, answer)
            done.append((message.message_id, answer))
            answers.append(responses)
        return _told(done, answers)

    async def _direct(self, work: list[Work], deadline: float) -> dict[str, Any]:
        """Work that came without a queue: a direct invocation, S3, SNS or EventBridge."""
        done: list[tuple[str, Disposition]] = []
        answers: list[list[ScoringResponse]] = []
        failure: Exception | None = None
        for place, part in enumerate(work):
            try:
                with _waiting() as responses:
                    disposition = await self._messages.work_on_part(part, deadline)
                await self._keep(part, disposition)
            except Exception as error:
                if len(work) == 1:
                    raise
                log.exception("part %d of the event is not done: the invoker must repeat it", place)
                failure = failure or error
                continue
            done.append((_identifier(part, place), disposition))
            answers.append(responses)
        if failure is not None:  # the others are done; repeated, they are duplicates
            raise failure
        return _told(done, answers)

    async def _keep(self, part: Work, disposition: Disposition) -> None:
        """Put on a queue what is not done or can never work; there is none that it could stay on."""
        if isinstance(disposition, Retry):
            await self._later(part, disposition)
        elif isinstance(disposition, DeadLetter):
            queue = await self._messages.dead_letter_queue()
            if queue is not None:
                body = encode_work(part)
                await queue.put(body, disposition.reason, attributes={}, source="invocation")
            elif isinstance(part, Unreadable):
                raise InvalidRequest(part.problem)

    async def _later(self, work: Work, retry: Retry) -> None:
        """Put the work on the request queue; without one, have the invoker repeat it."""
        if self._request_queue_url is None:
            raise RetryLater(f"the work is not done: repeat it in {retry.after:.0f} s")
        try:
            await self._aws.call(
                self._aws.sqs.send_message,
                QueueUrl=self._request_queue_url,
                MessageBody=encode_work(work),
                **sqs_delay(self._request_queue_url, retry.after),
                **placing(self._request_queue_url, _identifier(work, 0)),
            )
        except (BotoCoreError, ClientError) as error:
            raise translate(error, f"queue {self._request_queue_url}") from error


@contextlib.contextmanager
def _waiting() -> Iterator[list[ScoringResponse]]:
    """Give the responses that are sent within."""
    responses: list[ScoringResponse] = []
    token = ANSWERED.set(responses)
    try:
        yield responses
    finally:
        ANSWERED.reset(token)


def _told(
    done: list[tuple[str, Disposition]], answers: list[list[ScoringResponse]]
) -> dict[str, Any]:
    """Return the summary with each request's responses: whoever invoked synchronously has the value."""
    told = summary(done)
    for row, responses in zip(told["results"], answers, strict=True):
        if responses:
            row["responses"] = [response.body() for response in responses]
    return told


def _identifier(part: Work, place: int) -> str:
    if isinstance(part, ScoringRequest):
        return part.request_id
    return part.ref.key if isinstance(part, ObjectCreated) else f"record {place}"


def _lanes(messages: Iterable[SqsMessage]) -> list[list[int]]:
    """Return the places of messages that may be worked on side by side; a FIFO group's stay in order in one lane."""
    lanes: dict[str | int, list[int]] = defaultdict(list)
    for place, message in enumerate(messages):
        fifo = message.queue.endswith(".fifo") and message.group is not None
        lanes[f"group {message.group}" if fifo else place].append(place)
    return list(lanes.values())
