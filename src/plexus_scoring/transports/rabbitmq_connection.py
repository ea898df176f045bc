"""One robust connection to RabbitMQ, and confirmed publishing over it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Mapping
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionNotAllowed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from pamqp.encode import encode_table_value

from plexus_scoring.model.errors import ConfigurationError, NotFound, StoreUnavailable
from plexus_scoring.transports import rabbitmq_decode
from plexus_scoring.transports.rabbitmq_publish import Publisher

log = logging.getLogger(__name__)

CONFIRM_SECONDS = 15.0
"""How long to wait for the broker's confirm, reconnecting included."""
CONNECT_SECONDS = 10.0
CONNECTION_ERRORS = (AMQPError, OSError, TimeoutError, RuntimeError, StopAsyncIteration)
"""What aio-pika raises when the broker cannot be reached now.

Closed connections are RuntimeErrors there. A line that ends in the middle of the greeting, as one to a broker that is
shutting down does, is the end of an iteration.
"""

REFUSALS = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)
"""Wrong user, password or virtual host: trying again cannot help."""

Properties = spec.Basic.Properties

SHORT_BYTES = 255
"""AMQP's longest short string: ids, names of queues."""


class RabbitConnection:
    """A connection that is replaced when it is lost, with a channel for confirmed publishing.

    aio-pika's robust connection is not used: after a broker's orderly restart it was seen connected with its
    channels closed for good. Here whoever needs a channel finds out that it is closed, and opens one.
    """

    def __init__(self, url: str) -> None:
        """Connect to `url` (amqp or amqps) when `open` is called."""
        rabbitmq_decode.be_lenient()
        self._url = url
        self._connection: AbstractConnection | None = None
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()
        self._replies: RabbitConnection | None = None

    @property
    def is_up(self) -> bool:
        """Whether the connection stands, as far as we know. Heartbeats notice one that is half open."""
        return self._stands()

    def _stands(self) -> bool:
        connection = self._connection
        if connection is None or connection.is_closed or connection.transport is None:
            return False
        return not connection.transport.connection.is_closed

    async def open(self) -> None:
        """Connect, unless connected.

        Raises:
            StoreUnavailable: the broker does not answer, or has no such virtual host (yet).
            ConfigurationError: the URL is malformed, or the broker refuses the user.
        """
        if self.is_up:
            return
        async with self._opening:
            if self._stands():  # another caller was faster
                return
            await self.aclose()  # what is left of a lost one
            try:
                # With a timeout of the library's, a cancelled attempt leaves a task whose error asyncio then logs.
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._connection = await aio_pika.connect(
                        self._url, client_properties={"connection_name": "plexus-scoring"}
                    )
            except (*REFUSALS, ValueError) as error:
                # Not chained: the library's error may hold the URL with its password.
                kind = type(error).__name__
                raise ConfigurationError(f"PLEXUS_RABBITMQ_URL is refused: {kind}") from None
            except InvalidFrameError as error:
                # How the library says that a Connection.Close came: to a wrong virtual host, or to a broker's end.
                raise StoreUnavailable(
                    "RabbitMQ refuses the connection: is the virtual host of PLEXUS_RABBITMQ_URL there?"
                ) from error
            except CONNECTION_ERRORS as error:
                raise StoreUnavailable(f"RabbitMQ cannot be reached: {_text(error)}") from error

    async def channel(self) -> AbstractChannel:
        """Return a new channel with confirms, on which an unroutable message raises. Raises StoreUnavailable."""
        await self.open()
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                assert self._connection is not None  # noqa: S101  open() made it
                return await self._connection.channel(
                    publisher_confirms=True, on_return_raises=True
                )
        except CONNECTION_ERRORS as error:
            raise StoreUnavailable(f"RabbitMQ gives no channel: {_text(error)}") from error

    async def _new_publisher(self) -> Publisher:
        await self.open()
        async with self._opening:
            publisher = self._publisher
            if publisher is None or publisher.is_closed:  # else another caller was faster
                if self._connection is None:
                    raise StoreUnavailable("RabbitMQ is not connected")
                channel = await self._connection.channel(
                    publisher_confirms=True, on_return_raises=True
                )
                publisher = self._publisher = Publisher(
                    await channel.get_underlay_channel(), confirm_seconds=CONFIRM_SECONDS
                )
            return publisher

    async def publish(
        self, body: bytes, properties: Properties, *, routing_key: str, exchange: str = ""
    ) -> None:
        """Publish one persistent message and wait for the broker's confirm.

        Raises:
            NotFound: no queue takes it.
            StoreUnavailable: no confirm came, or the broker refused it.
        """
        try:
            publisher = self._publisher
            if publisher is None or publisher.is_closed or not self.is_up:
                async with asyncio.timeout(CONFIRM_SECONDS):
                    publisher = await self._new_publisher()
            await publisher.publish(body, properties, exchange=exchange, routing_key=routing_key)
        except PublishError as error:
            place = _place(exchange, routing_key)
            raise NotFound(f"RabbitMQ: no queue takes what is sent to {place}") from error
        except DeliveryError as error:
            place = _place(exchange, routing_key)
            raise StoreUnavailable(f"RabbitMQ: {place} refused a message (is it full?)") from error
        except CONNECTION_ERRORS as error:
            place = _place(exchange, routing_key)
            raise StoreUnavailable(f"RabbitMQ: not sent to {place}: {_text(error)}") from error

    async def publish_reply(self, body: bytes, properties: Properties, *, routing_key: str) -> None:
        """Publish to a direct reply-to (RabbitMQ's pseudo-queues), on a connection of its own.

        RabbitMQ 3.10 ends the connection over such a name that it cannot decode, and anybody can send one. Raises as
        `publish` does.
        """
        if self._replies is None:
            self._replies = RabbitConnection(self._url)
        await self._replies.publish(body, properties, routing_key=routing_key)

    @contextlib.asynccontextmanager
    async def temporary_channel(self) -> Any:
        """Give a plain channel for one conversation; a refusal closes it, and nothing else."""
        await self.open()
        assert self._connection is not None  # noqa: S101  open() made it
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                transport = self._connection.transport
                if transport is None:
                    raise StoreUnavailable("RabbitMQ is not connected")
                channel = await transport.connection.channel(publisher_confirms=False)
        except CONNECTION_ERRORS as error:
            raise StoreUnavailable(f"RabbitMQ gives no channel: {_text(error)}") from error
        try:
            yield channel
        finally:
            with contextlib.suppress(*CONNECTION_ERRORS, asyncio.InvalidStateError):
                if not channel.is_closed:
                    await channel.close()

    async def aclose(self) -> None:
        """Close the connection; the broker takes back what is not acknowledged. Safe to call twice."""
        connection, self._connection = self._connection, None
        replies, self._replies = self._replies, None
        self._publisher = None
        if replies is not None:
            await replies.aclose()
        if connection is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await connection.close()


def persistent(
    *,
    message_id: str | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    timestamp: Any = None,
    headers: Mapping[str, Any] | None = None,
) -> Properties:
    """Return the properties of a persistent JSON message; an id too long for AMQP is in the body only."""
    return Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=message_id if fits(message_id) else None,
        correlation_id=correlation_id if fits(correlation_id) else None,
        reply_to=reply_to,
        timestamp=timestamp,
        headers=dict(headers or {}),
    )


def copied(old: Properties, *, headers: Mapping[str, Any], expiration: str | None) -> Properties:
    """Return the properties of a copy: as the message came, but persistent, and without the sender's user id.

    The broker takes a user id from its owner's connection only.
    """
    return Properties(
        content_type=old.content_type,
        content_encoding=old.content_encoding,
        delivery_mode=2,
        priority=old.priority,
        correlation_id=old.correlation_id,
        reply_to=old.reply_to,
        expiration=expiration,
        message_id=old.message_id,
        timestamp=old.timestamp,
        message_type=old.message_type,
        app_id=old.app_id,
        headers=dict(headers),
    )


def fits(text: str | None) -> bool:
    """Whether AMQP can carry this as a short string."""
    return text is None or len(text.encode()) <= SHORT_BYTES


def carried(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return received headers so that they can be sent again: other clients' encoders know more than ours."""
    return {name: _carried(value) for name, value in headers.items()}


def _carried(value: Any) -> Any:
    if isinstance(value, bytes):
        return bytearray(value)  # a string that is not UTF-8
    try:
        encode_table_value(value)
    except (TypeError, ValueError, OverflowError, struct.error):
        return str(value)
    return value


def _place(exchange: str, routing_key: str) -> str:
    return f"exchange {exchange}" if exchange else f"queue {routing_key}"


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
