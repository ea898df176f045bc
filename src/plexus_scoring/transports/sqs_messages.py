"""Works on one SQS message, and maps its disposition to what SQS understands.

======================  ==================================================================
Ack                     DeleteMessage (by an event source mapping, or by `settle`)
Retry(after)            ChangeMessageVisibility(after)
DeadLetter(reason)      a message in the dead-letter queue with its reason, then as Ack
======================  ==================================================================
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.aws import Aws, translate
from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound, StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest, decode_json, valid_traceparent
from plexus_scoring.ports import AttachmentStore, Clock, Responder
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import Metrics
from plexus_scoring.transports.base import growing_delay
from plexus_scoring.transports.lambda_events import (
    ObjectCreated,
    SqsMessage,
    Unreadable,
    Work,
    pointed_to,
    read_work,
)
from plexus_scoring.transports.objects import request_of_object
from plexus_scoring.transports.requests import handle_received, refuse
from plexus_scoring.transports.sqs import (
    DeadLetterQueue,
    SqsSender,
    change_visibility,
    redrive_target,
)

log = logging.getLogger(__name__)

UNREADABLE_RETRY_SECONDS = 5.0


class Handle(Protocol):
    """The service's one path, as a transport sees it."""

    async def __call__(self, request: ScoringRequest, deadline: float | None = None) -> Disposition:
        """Work on one request."""
        ...


class SqsMessages:
    """Reads messages, hands their requests to the service, and dead-letters what can never work."""

    def __init__(
        self,
        *,
        handle: Handle,
        attachments: AttachmentStore,
        aws: Aws,
        clock: Clock,
        metrics: Metrics,
        request_queue_url: str | None = None,
        dead_letter_queue_url: str | None = None,
        account: str = "default",
        responder: Responder | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            handle: The service's one path.
            attachments: Where objects named by S3 notifications are read.
            aws: Clients and threads.
            clock: For the age of messages.
            metrics: Where the age goes.
            request_queue_url: The queue whose redrive target takes dead letters where none is named.
            dead_letter_queue_url: The queue that takes them.
            account: Account of messages that name none.
            responder: Where a message that cannot be read is answered, if it has a `request_id` as attribute.
        """
        self._responder = responder
        self._handle = handle
        self._attachments = attachments
        self._aws = aws
        self._clock = clock
        self._metrics = metrics
        self._request_queue_url = request_queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._dead_letters: DeadLetterQueue | None = None
        self._account = account

    async def work_on(self, message: SqsMessage, deadline: float | None) -> Ack | Retry:
        """Work on a message. A `DeadLetter` is carried out here, so the answer is `Ack` or `Retry`."""
        if message.sent_at is not None:
            age = max(0.0, self._clock.now() - message.sent_at)
            self._metrics.observe(names.QUEUE_AGE_SECONDS, age)
        if message.problem is not None:
            return await self._refuse(message, InvalidRequest(message.problem))
        exchange = message.attributes.get("request_id") or None
        value: object = None
        try:
            value = decode_json(message.body)
            if (ref := pointed_to(value)) is not None:
                value = decode_json(await self._attachments.read(ref))
            parts = read_work(value, default_account=self._account, correlation_id=exchange)
        except (InvalidRequest, NotFound) as error:
            return await self._refuse(message, error, value, exchange)
        except StoreUnavailable as error:
            log.warning("the message's body is not readable now: %s", error)
            return Retry(_after(error, message.receives), counted=False)
        trace = valid_traceparent(message.attributes.get("traceparent"))
        dispositions = [
            await self.work_on_part(
                _with_envelope(part, trace, message.receives), deadline, message.receives
            )
            for part in parts
        ]
        # A message with several requests comes back while any of them is open; the others are duplicates then.
        for disposition in dispositions:
            if isinstance(disposition, Retry):
                return disposition
        for disposition in dispositions:
            if isinstance(disposition, DeadLetter):
                return await self.dead_letter(message, disposition.reason)
        return Ack()

    async def work_on_part(
        self, work: Work, deadline: float | None, receives: int = 1
    ) -> Disposition:
        """Work on one request, reading it from its object first where it is one."""
        if isinstance(work, Unreadable):
            log.error("part of an event or message not usable: %s", work.problem)
            return DeadLetter(InvalidRequest(work.problem).info())
        try:
            if isinstance(work, ObjectCreated):
                work = await request_of_object(
                    work, self._attachments, default_account=self._account
                )
        except (InvalidRequest, NotFound) as error:
            log.error("object not usable: %s", error)  # noqa: TRY400  one line says it all
            return DeadLetter(error.info())
        except StoreUnavailable as error:
            log.warning("object not readable now: %s", error)
            return Retry(_after(error, receives), counted=False)
        return await handle_received(self._handle, work, deadline, system="aws_sqs")

    async def _refuse(
        self,
        message: SqsMessage,
        error: InvalidRequest | NotFound,
        value: object = None,
        exchange: str | None = None,
    ) -> Ack | Retry:
        """Answer a message that cannot be read, where the caller can be told, and dead-letter it."""
        refusal = await refuse(
            self._responder,
            error,
            value,
            message_id=message.message_id or "without an id",
            metrics=self._metrics,
            correlation_id=exchange,
        )
        return (
            await self.dead_letter(message, refusal.reason)
            if isinstance(refusal, DeadLetter)
            else refusal
        )

    async def dead_letter(self, message: SqsMessage, reason: ErrorInfo) -> Ack | Retry:
        """Keep a message in the dead-letter queue; if that cannot be, SQS's own redrive must."""
        try:
            queue = await self.dead_letter_queue()
            if queue is None:
                log.error(
                    "no dead-letter queue: set PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL or a redrive policy; "
                    "the message stays on its queue"
                )
                return Retry(0.0)
            await queue.put(
                message.body,
                reason,
                attributes=message.attributes,
                source=message.queue,
                message_id=message.message_id,
                group=message.group,
            )
        except (StoreUnavailable, NotFound) as error:
            log.error("dead-letter queue not reachable, the message stays: %s", error)  # noqa: TRY400
            return Retry(growing_delay(UNREADABLE_RETRY_SECONDS, message.receives))
        return Ack()

    async def dead_letter_queue(self) -> DeadLetterQueue | None:
        """Return the dead-letter queue, or None if neither settings nor the request queue name one.

        Raises:
            StoreUnavailable, NotFound: the request queue cannot be asked for its redrive target.
        """
        if self._dead_letters is None:
            url = self._dead_letter_queue_url
            if url is None and self._request_queue_url is not None:
                url = await redrive_target(self._aws, self._request_queue_url)
            if url is None:
                return None
            self._dead_letters = DeadLetterQueue(SqsSender(self._aws, url))
        return self._dead_letters

    async def settle(self, message: SqsMessage, disposition: Ack | Retry) -> None:
        """Delete the message or set when it comes back, where no event source mapping does.

        A delete that fails changes nothing that was done: the message is a duplicate when it comes again.
        """
        if isinstance(disposition, Retry):
            await change_visibility(
                self._aws, message.queue, [(message.receipt_handle, disposition.after)]
            )
            return
        try:
            await self._aws.call(
                self._aws.sqs.delete_message,
                QueueUrl=message.queue,
                ReceiptHandle=message.receipt_handle,
            )
        except (BotoCoreError, ClientError) as error:
            log.warning("message not deleted: %s", translate(error, f"queue {message.queue}"))


def _after(error: StoreUnavailable, receives: int) -> float:
    return error.retry_after or growing_delay(UNREADABLE_RETRY_SECONDS, receives)


def _with_envelope(work: Work, traceparent: str | None, receives: int) -> Work:
    if isinstance(work, ScoringRequest):
        return msgspec.structs.replace(
            work, traceparent=work.traceparent or traceparent, deliveries=receives
        )
    return work


def summary(done: list[tuple[str, Disposition]]) -> dict[str, Any]:
    """Return what a direct invocation answers: each request's id and disposition."""
    rows: list[dict[str, Any]] = []
    for identifier, disposition in done:
        row: dict[str, Any] = {"id": identifier, "disposition": type(disposition).__name__}
        if isinstance(disposition, Retry):
            row["after"] = round(disposition.after, 3)
        elif isinstance(disposition, DeadLetter):
            reason = disposition.reason
            row["reason"] = {"code": reason.code, "message": reason.message}
        rows.append(row)
    return {"processed": len(rows), "results": rows}
