"""What operators do with a RabbitMQ request queue: send, count, look at dead letters, move them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiormq.exceptions import ChannelNotFoundEntity

from plexus_scoring.model.errors import ConfigurationError, NotFound, StoreUnavailable
from plexus_scoring.transports import rabbitmq_topology
from plexus_scoring.transports.base import Choose, DeadMessage, QueueStats
from plexus_scoring.transports.rabbitmq import (
    DELIVERIES_HEADER,
    DIED_AT_HEADER,
    EXPIRATION_HEADER,
    OUR_REASON_HEADERS,
    REASON_CODE_HEADER,
    REASON_HEADER,
)
from plexus_scoring.transports.rabbitmq_connection import (
    CONNECTION_ERRORS,
    RabbitConnection,
    carried,
    copied,
    persistent,
)
from plexus_scoring.transports.rabbitmq_topology import RETRY_STEPS, Topology


class RabbitAdmin:
    """`QueueAdmin` of a request queue."""

    def __init__(
        self, connection: RabbitConnection, topology: Topology, *, declare: bool = True
    ) -> None:
        """Operate on `topology` over `connection`, which it closes; `declare` creates missing queues."""
        self._connection = connection
        self._topology = topology
        self._declare = declare
        self._ready = False
        self._preparing = asyncio.Lock()

    async def send(
        self, body: str, *, request_id: str, traceparent: str | None = None, delay: float = 0.0
    ) -> None:
        """Publish a request and wait for the confirm. Raises StoreUnavailable, NotFound (no such queue)."""
        await self._prepare()
        properties = persistent(
            message_id=request_id,
            correlation_id=request_id,
            timestamp=datetime.now(UTC),
            headers={"traceparent": traceparent} if traceparent else None,
        )
        to = self._topology.retry(delay) if delay > 0 else self._topology.request
        await self._connection.publish(body.encode(), properties, routing_key=to)

    async def stats(self) -> QueueStats:
        """Count. Messages in work are not told over AMQP."""
        topology = self._topology
        await self._connection.open()
        delayed = [await self._count(topology.retry(step)) or 0 for step in RETRY_STEPS]
        return QueueStats(
            waiting=await self._count(topology.request),
            delayed=sum(delayed),
            dead=await self._count(topology.dead),
        )

    async def dead_letters(self, limit: int) -> AsyncIterator[DeadMessage]:
        """Yield dead messages. They return to the queue when the iteration ends."""
        async with self._connection.temporary_channel() as channel:
            for _ in range(limit):
                message = await self._get(channel)
                if message is None:
                    return
                yield _dead(message)

    async def redrive(self, choose: Choose, *, limit: int) -> int:
        """Move the chosen back: confirmed on the request queue, then acknowledged here."""
        return await self._take_chosen(choose, limit=limit, before=self._copy_back)

    async def discard(self, choose: Choose, *, limit: int) -> int:
        """Acknowledge the chosen."""

        async def nothing(_message: Any) -> None: ...

        return await self._take_chosen(choose, limit=limit, before=nothing)

    async def exists(self) -> bool:
        """Whether the request queue is there."""
        await self._connection.open()
        return await self._count(self._topology.request) is not None

    async def problem(self) -> str | None:
        """Return: nothing is known."""
        return None

    async def _take_chosen(
        self, choose: Choose, *, limit: int, before: Callable[[Any], Awaitable[None]]
    ) -> int:
        taken = 0
        async with self._connection.temporary_channel() as channel:
            for _ in range(limit):
                message = await self._get(channel)
                if message is None:
                    break
                if not await choose(_dead(message)):
                    continue
                await before(message)
                await self._ack(channel, message)
                taken += 1
        return taken

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    async def _prepare(self) -> None:
        if not self._declare or self._ready:
            return
        async with self._preparing:  # once, however many are sent at the same moment
            if not self._ready:
                await rabbitmq_topology.declare(self._connection, self._topology)
                self._ready = True

    async def _count(self, queue: str) -> int | None:
        see = rabbitmq_topology.see_queue(queue)
        try:
            answer = await rabbitmq_topology.ask(self._connection, queue, "queue", see)
        except ConfigurationError as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                return None  # it does not exist yet
            raise
        return int(answer.message_count)

    async def _get(self, channel: Any) -> Any:
        queue = self._topology.dead
        try:
            async with asyncio.timeout(10):
                message = await channel.basic_get(queue)
        except CONNECTION_ERRORS as error:
            if isinstance(error, ChannelNotFoundEntity):
                raise NotFound(f"RabbitMQ: queue {queue} does not exist") from error
            raise StoreUnavailable(f"RabbitMQ: queue {queue}: {type(error).__name__}") from error
        return None if message.delivery_tag is None or not message.delivery_tag else message

    async def _copy_back(self, message: Any) -> None:
        old = message.header.properties
        headers = {
            name: value
            for name, value in carried(_headers(message)).items()
            if name not in OUR_REASON_HEADERS
            and name != DELIVERIES_HEADER
            and not name.startswith(("x-death", "x-first-death-", "x-last-death-", "x-delivery-"))
        }
        expiration = headers.pop(EXPIRATION_HEADER, None) or old.expiration
        properties = copied(old, headers=headers, expiration=expiration)
        await self._connection.publish(
            bytes(message.body), properties, routing_key=self._topology.request
        )

    async def _ack(self, channel: Any, message: Any) -> None:
        try:
            await channel.basic_ack(message.delivery_tag)
        except CONNECTION_ERRORS as error:
            text = f"RabbitMQ: done, but still in {self._topology.dead}: {type(error).__name__}"
            raise StoreUnavailable(text) from error


def _headers(message: Any) -> dict[str, Any]:
    return dict(message.header.properties.headers or {})


def _dead(message: Any) -> DeadMessage:
    headers = _headers(message)
    code, reason, died = (
        headers.get(name) for name in (REASON_CODE_HEADER, REASON_HEADER, DIED_AT_HEADER)
    )
    if code is None:
        # Dead-lettered by the broker itself: its delivery limit, or an operator's reject.
        deaths = headers.get("x-death") or [{}]
        code = str(deaths[0].get("reason", "unknown"))
        reason = f"dead-lettered by RabbitMQ: {code}"
        at = deaths[0].get("time")
        died = at.isoformat() if isinstance(at, datetime) else None
    return DeadMessage(
        id=message.header.properties.message_id or f"tag {message.delivery_tag}",
        body=bytes(message.body).decode(errors="replace"),
        reason_code=str(code),
        reason=str(reason),
        died_at=datetime.fromisoformat(died).timestamp() if isinstance(died, str) else None,
    )
