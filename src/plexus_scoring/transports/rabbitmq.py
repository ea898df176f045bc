"""RabbitMQ: requests from a quorum queue, responses with publisher confirms.

Never a reject and never an unconfirmed publish: a message that is to come back later, or that is dead, is published to
its new place, confirmed there, and acknowledged after that. A crash in between doubles it; the job's state makes a
double harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aio_pika.abc import AbstractChannel as AioPikaChannel
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from plexus_scoring.model.errors import ConfigurationError, ErrorInfo, NotFound, StoreUnavailable
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.telemetry import tracing
from plexus_scoring.transports import rabbitmq_topology
from plexus_scoring.transports.base import Delivery, Envelope, current_correlation_id
from plexus_scoring.transports.rabbitmq_acks import Acks
from plexus_scoring.transports.rabbitmq_connection import (
    CONFIRM_SECONDS,
    CONNECTION_ERRORS,
    RabbitConnection,
    carried,
    copied,
    fits,
    persistent,
)
from plexus_scoring.transports.rabbitmq_topology import Topology

log = logging.getLogger(__name__)

DELIVERIES_HEADER = "x-plexus-deliveries"
REASON_CODE_HEADER = "x-plexus-reason-code"
REASON_HEADER = "x-plexus-reason"
REASON_TYPE_HEADER = "x-plexus-reason-type"
DIED_AT_HEADER = "x-plexus-died-at"
SOURCE_HEADER = "x-plexus-source"
RECEIVED_HEADER = "timestamp_in_ms"
"""Of RabbitMQ's message interceptor (message_interceptors.incoming.set_header_timestamp)."""
EXPIRATION_HEADER = "x-plexus-expiration"
"""The sender's, while the message waits for its next attempt."""
OUR_REASON_HEADERS = frozenset(
    {REASON_CODE_HEADER, REASON_HEADER, REASON_TYPE_HEADER, DIED_AT_HEADER, SOURCE_HEADER}
)
# The broker's notes on a message's way; a copy has its own way.
_BROKER_HEADERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")

DEAD_LETTERS_FULL_SECONDS = 60.0
"""When a message for a full dead-letter queue is tried again."""
REQUEUE_PAUSE_SECONDS = 1.0
DIRECT_REPLY = "amq.rabbitmq.reply-to"
LOST_CHECK_SECONDS = 1.0
"""How often an idle source looks whether its channel still stands."""


class RabbitSource:
    """Takes requests from a quorum queue."""

    max_deliveries: int | None = None
    hold_seconds: float | None = None  # a delivery is ours until the channel ends

    def __init__(
        self, connection: RabbitConnection, topology: Topology, *, prefetch: int, declare: bool
    ) -> None:
        """Read `topology.request` with `prefetch` unacknowledged messages at most.

        Args:
            connection: Shared with the responder.
            topology: Names of the queues.
            prefetch: Bound of unacknowledged messages.
            declare: Create the queues; else only check that they are there.
        """
        self.name = topology.request
        self._connection = connection
        self._topology = topology
        self._prefetch = prefetch
        self._declare = declare
        self._buffer: deque[DeliveredMessage] = deque()
        self._arrived = asyncio.Event()
        self._stopped = False
        self._acks = Acks()
        self._channel: AioPikaChannel | None = None
        self._tag: str | None = None

    async def open(self) -> None:
        """Connect, declare or check the queues, and start to consume."""
        await self._connection.open()
        prepare = rabbitmq_topology.declare if self._declare else rabbitmq_topology.check
        await prepare(self._connection, self._topology)
        await self._consume()

    async def _consume(self) -> None:
        """Start to consume; what a channel that has ended had brought is the broker's again."""
        channel = self._channel if self._stands else None
        if channel is None:
            channel = await self._connection.channel()
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await channel.set_qos(prefetch_count=self._prefetch)
                # Below aio-pika's own messages: they cost a tenth of a no-op job.
                plain = await channel.get_underlay_channel()
                plain.on_consumer_cancel_callbacks.add(self._on_cancelled)
                consuming = await plain.basic_consume(self.name, self._on_message)
        except CONNECTION_ERRORS as error:
            raise StoreUnavailable(f"RabbitMQ: {self.name} cannot be consumed: {error}") from error
        self._channel, self._tag = channel, consuming.consumer_tag

    async def _consume_again(self) -> None:
        """Consume after a loss, declaring a queue that is gone; one that we may not declare is waited for."""
        try:
            await self._consume()
        except StoreUnavailable as error:
            if not self._declare or not isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
            log.warning("%s is gone, declaring it again", self.name)
            try:
                await rabbitmq_topology.declare(self._connection, self._topology)
            except ConfigurationError as refusal:
                raise StoreUnavailable(refusal.message) from refusal
            await self._consume()
        log.info("consuming %s again", self.name)

    @property
    def _stands(self) -> bool:
        channel = self._channel
        return channel is not None and not channel.is_closed and self._connection.is_up

    @property
    def _lost(self) -> bool:
        return self._tag is None or not self._stands

    def _on_cancelled(self, _: spec.Basic.Cancel) -> None:
        """The broker ended the consumer and left its channel open: the queue was deleted, or lost its node."""
        self._tag = None

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._buffer.append(message)
        self._arrived.set()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages."""
        while not self._buffer and not self._stopped:
            if self._lost:
                await self._consume_again()
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOST_CHECK_SECONDS):
                    await self._arrived.wait()
        deliveries: list[Delivery] = []
        while self._buffer and len(deliveries) < limit:
            message = self._buffer.popleft()
            if _channel(message) is not None:
                deliveries.append(_RabbitDelivery(self, message))
        return deliveries

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing to extend."""

    async def stop(self) -> None:
        """Cancel the consumer."""
        if self._channel is not None and self._tag is not None and not self._lost:
            try:
                async with asyncio.timeout(5):
                    plain = await self._channel.get_underlay_channel()
                    await plain.basic_cancel(self._tag)
            except CONNECTION_ERRORS as error:
                log.warning("consumer not cancelled: %s", error)
        self._stopped = True
        self._arrived.set()

    async def check(self) -> None:
        """Ask the broker for the queue, which must be consumed: that it is there is not enough."""
        if not self._connection.is_up:
            raise StoreUnavailable("RabbitMQ is not connected")
        if self._lost:
            raise StoreUnavailable(f"RabbitMQ: {self.name} is not consumed")
        name = self._topology.request
        see = rabbitmq_topology.see_queue(name)
        await rabbitmq_topology.ask(self._connection, name, "queue", see)

    async def aclose(self) -> None:
        """Send what acknowledgements are left, and end the channel."""
        await self._acks.drain()
        channel, self._channel = self._channel, None
        if channel is not None:
            try:
                async with asyncio.timeout(5):
                    await channel.close()
            except CONNECTION_ERRORS as error:
                log.info("channel not closed in order: %s", error)

    def settle(self, message: DeliveredMessage) -> None:
        """Acknowledge, together with what else is settled in this turn of the loop."""
        channel = _channel(message)
        if channel is not None and message.delivery_tag is not None:
            self._acks.add(channel, message.delivery_tag)

    async def move(
        self,
        message: DeliveredMessage,
        headers: dict[str, Any],
        *,
        to: str,
        exchange: str = "",
        waits: bool = False,
    ) -> None:
        """Publish a copy elsewhere, confirmed, and acknowledge the original. Raises StoreUnavailable.

        `waits`: the place is a delay queue.
        """
        old = message.header.properties
        expiration = headers.pop(EXPIRATION_HEADER, None) or old.expiration
        if expiration is not None and waits:
            # In a delay queue it would end the wait; the broker takes it off as it moves the message on.
            headers[EXPIRATION_HEADER], expiration = expiration, None
        properties = copied(old, headers=headers, expiration=expiration)
        try:
            await self._connection.publish(
                message.body, properties, routing_key=to, exchange=exchange
            )
        except NotFound as error:
            raise StoreUnavailable(error.message) from error
        self.settle(message)

    async def requeue(self, message: DeliveredMessage) -> None:
        """Have the broker take a message back that could not be moved; it counts as a delivery there."""
        await asyncio.sleep(REQUEUE_PAUSE_SECONDS)
        channel = _channel(message)
        if channel is None or message.delivery_tag is None:
            return
        self._acks.forget(channel, message.delivery_tag)
        await channel.basic_nack(message.delivery_tag, requeue=True, wait=False)

    @property
    def topology(self) -> Topology:
        """The names."""
        return self._topology


class _RabbitDelivery:
    """One message."""

    def __init__(self, source: RabbitSource, message: DeliveredMessage) -> None:
        self._source = source
        self._message = message
        self.envelope = _envelope(message)

    async def ack(self) -> None:
        self._source.settle(self._message)

    async def retry(self, after: float, *, counted: bool) -> None:
        headers = _own_headers(self._message)
        headers[DELIVERIES_HEADER] = self.envelope.deliveries + counted
        topology = self._source.topology
        to = topology.retry(after) if after > 0 else topology.request
        await self._move(headers, to=to, waits=after > 0)

    async def dead_letter(self, reason: ErrorInfo) -> None:
        headers = _own_headers(self._message) | reason_headers(reason, self._source.name)
        topology = self._source.topology
        try:
            await self._source.move(
                self._message, headers, to=topology.request, exchange=topology.dead_exchange
            )
        except StoreUnavailable as error:
            log.error(  # noqa: TRY400  one line: the cause is the broker's answer
                "dead-letter queue takes no message, trying again in %.0f s: %s",
                DEAD_LETTERS_FULL_SECONDS,
                error,
            )
            await self.retry(DEAD_LETTERS_FULL_SECONDS, counted=False)

    async def abandon(self) -> None:
        await self.retry(0.0, counted=False)

    async def _move(self, headers: dict[str, Any], *, to: str, waits: bool) -> None:
        try:
            await self._source.move(self._message, headers, to=to, waits=waits)
        except StoreUnavailable:
            try:
                await self._source.requeue(self._message)
            except CONNECTION_ERRORS as error:
                log.info("not requeued, the broker takes it back with the channel: %s", error)
            raise


class RabbitResponder:
    """Publishes responses (`ports.Responder`), to the request's `reply_to` if it named one."""

    def __init__(self, connection: RabbitConnection, topology: Topology) -> None:
        """Publish to `topology.response` by default."""
        self._connection = connection
        self._topology = topology

    async def respond(self, response: ScoringResponse) -> None:
        """Publish and wait for the confirm. Raises StoreUnavailable."""
        context = tracing.traceparent() or response.traceparent
        properties = persistent(
            message_id=f"{response.request_id}:response",
            correlation_id=current_correlation_id.get() or response.request_id,
            headers={"traceparent": context} if context else None,
        )
        body = msgspec.json.encode(response.body())
        target = response.reply_to
        if target and target not in self._topology.own and fits(target):
            try:
                if target.startswith(DIRECT_REPLY):
                    await self._connection.publish_reply(body, properties, routing_key=target)
                else:
                    await self._connection.publish(body, properties, routing_key=target)
            except NotFound:
                log.warning("reply_to names no queue, responding on %s", self._topology.response)
            except StoreUnavailable as error:
                if not target.startswith(DIRECT_REPLY):
                    raise
                log.warning("no direct reply, responding on %s: %s", self._topology.response, error)
            else:
                return
        try:
            await self._connection.publish(body, properties, routing_key=self._topology.response)
        except NotFound as error:
            raise StoreUnavailable(error.message) from error

    async def aclose(self) -> None:
        """Nothing to close: the connection belongs to who made it."""


def reason_headers(reason: ErrorInfo, source: str) -> dict[str, Any]:
    """Return what the dead-letter queue is to say of a message."""
    headers = {
        REASON_CODE_HEADER: reason.code,
        REASON_HEADER: reason.message,
        DIED_AT_HEADER: datetime.now(UTC).isoformat(timespec="seconds"),
        SOURCE_HEADER: source,
    }
    return headers | ({REASON_TYPE_HEADER: reason.type} if reason.type else {})


def _channel(message: DeliveredMessage) -> AbstractChannel | None:
    """Return the channel that brought the message; None if it is closed and the broker has the message back."""
    return None if message.channel.is_closed else message.channel


def _own_headers(message: DeliveredMessage) -> dict[str, Any]:
    headers = carried(message.header.properties.headers or {})
    return {name: value for name, value in headers.items() if not name.startswith(_BROKER_HEADERS)}


def _envelope(message: DeliveredMessage) -> Envelope:
    about = message.header.properties
    headers: dict[str, Any] = dict(about.headers or {})
    deliveries = headers.get(DELIVERIES_HEADER, 1)
    return Envelope(
        message_id=about.message_id or f"delivery {message.delivery_tag}",
        body=message.body,
        deliveries=deliveries if isinstance(deliveries, int) else 1,
        correlation_id=about.correlation_id,
        reply_to=about.reply_to,
        traceparent=_string(headers.get("traceparent")),
        sent_at=_sent_at(about.timestamp, headers.get(RECEIVED_HEADER)),
    )


def _sent_at(sent: object, received: object) -> float | None:
    """Return when the producer says that it sent a message, else when the broker says that it took it."""
    if isinstance(sent, datetime):
        return sent.timestamp()
    return received / 1_000 if isinstance(received, int) and received > 0 else None


def _string(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None
