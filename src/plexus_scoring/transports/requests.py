"""From a message of a queue to the service: parse, add what the envelope says, handle."""

from __future__ import annotations

import msgspec

from plexus_scoring.model.disposition import DeadLetter, Disposition
from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.messages import ScoringRequest, decode_json, parse_request
from plexus_scoring.telemetry import names, tracing
from plexus_scoring.transports.base import Envelope, Handle, current_correlation_id


class RequestHandler:
    """`consumer.Decide` for queues whose every message is one request (``docs/messages.md``)."""

    def __init__(self, handle: Handle, *, system: str, default_account: str = "default") -> None:
        """Pass requests to `handle`; `system` is the broker's name in traces."""
        self._handle = handle
        self._system = system
        self._default_account = default_account

    async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
        """Work on one message. What cannot be read is dead: sending it again cannot help."""
        current_correlation_id.set(envelope.correlation_id)
        try:
            body = decode_json(envelope.body)
            if isinstance(body, dict) and envelope.correlation_id:
                # The sender's own id for the exchange stands in where the body names none.
                body.setdefault("request_id", envelope.correlation_id)
            request = parse_request(
                body if isinstance(body, dict) else envelope.body,
                default_account=self._default_account,
            )
        except InvalidRequest as error:
            return DeadLetter(error.info())
        if envelope.reply_to or envelope.traceparent:
            request = msgspec.structs.replace(
                request,
                reply_to=envelope.reply_to or request.reply_to,
                traceparent=envelope.traceparent or request.traceparent,
            )
        return await handle_received(self._handle, request, deadline, system=self._system)


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
