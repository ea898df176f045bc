"""From a message of a queue to the service: parse, add what the envelope says, handle."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from plexus_scoring.model.disposition import DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import InvalidRequest, ScoringError, StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest, decode_json, parse_request, refused
from plexus_scoring.ports import Responder
from plexus_scoring.telemetry import names, tracing
from plexus_scoring.telemetry.metrics import Metrics, NoMetrics
from plexus_scoring.transports.base import Envelope, Handle, current_correlation_id

log = logging.getLogger(__name__)

UNANSWERED_RETRY_SECONDS = 5.0


class RequestHandler:
    """`consumer.Decide` for queues whose every message is one request (``docs/messages.md``)."""

    def __init__(
        self,
        handle: Handle,
        *,
        system: str,
        default_account: str = "default",
        responder: Responder | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Pass requests to `handle`.

        Args:
            handle: The service's one path.
            system: The broker's name in traces.
            default_account: Account of a message that names none.
            responder: Where a message that cannot be read is answered, if it can be named; None: nowhere.
            metrics: Where such a message is counted; None: nowhere.
        """
        self._handle = handle
        self._system = system
        self._default_account = default_account
        self._responder = responder
        self._metrics: Metrics = metrics or NoMetrics()

    async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
        """Work on one message. What cannot be read is dead: sending it again cannot help."""
        current_correlation_id.set(envelope.correlation_id)
        body: Any = None
        try:
            body = decode_json(envelope.body)
            request = parse_request(
                body if isinstance(body, dict) else envelope.body,
                default_account=self._default_account,
                correlation_id=envelope.correlation_id or None,
            )
        except InvalidRequest as error:
            return await refuse(
                self._responder,
                error,
                body,
                message_id=envelope.message_id,
                metrics=self._metrics,
                correlation_id=envelope.correlation_id,
                reply_to=envelope.reply_to,
            )
        if envelope.reply_to or envelope.traceparent or envelope.deliveries > 1:
            request = msgspec.structs.replace(
                request,
                deliveries=envelope.deliveries,
                reply_to=envelope.reply_to or request.reply_to,
                traceparent=envelope.traceparent or request.traceparent,
            )
        return await handle_received(self._handle, request, deadline, system=self._system)


async def refuse(
    responder: Responder | None,
    error: ScoringError,
    body: object,
    *,
    message_id: str,
    metrics: Metrics,
    correlation_id: str | None,
    reply_to: str | None = None,
) -> Disposition:
    """Log and answer a message that can never become a request, where it can be answered, and have it dead-lettered."""
    response = refused(error.info(), body, correlation_id, reply_to=reply_to)
    named = {} if response is None else {"request_id": response.request_id}
    log.error("message %s: %s", message_id, error, extra=named)
    if responder is not None and response is not None:
        try:
            await responder.respond(response)
        except StoreUnavailable as away:
            log.warning("refused message not answered, it goes back: %s", away)
            return Retry(away.retry_after or UNANSWERED_RETRY_SECONDS, counted=False)
    metrics.count(names.JOBS, outcome=names.OUTCOME_UNKNOWN)
    return DeadLetter(error.info())


async def handle_received(
    handle: Handle, request: ScoringRequest, deadline: float | None, *, system: str
) -> Disposition:
    """Handle a request in a span of its own, below the sender's; the response goes out under it."""
    if not tracing.enabled():
        return await handle(request, deadline)
    with tracing.span(
        names.SPAN_RECEIVE,
        parent=request.traceparent,
        kind="consumer",
        attributes={
            "messaging.system": system,
            "messaging.message.conversation_id": request.request_id,
            "plexus_scoring.job.id": request.scoring_job_id,
        },
    ):
        request = msgspec.structs.replace(
            request, traceparent=tracing.traceparent() or request.traceparent
        )
        return await handle(request, deadline)
