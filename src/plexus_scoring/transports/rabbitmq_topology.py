"""The queues and exchanges of a request queue: their names, and how they are declared or checked.

For a request queue ``q``: quorum queue ``q`` whose poisoned messages (delivery limit) go to the fanout exchange
``q.dlx`` and from there to ``q.dlq``; quorum queues ``q.retry.{seconds}`` whose messages expire into ``q``. RabbitMQ
has no delayed redelivery of its own, and a queue whose messages all wait equally long is never blocked by its head.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from plexus_scoring.model.errors import ConfigurationError, StoreUnavailable
from plexus_scoring.transports.rabbitmq_connection import CONNECTION_ERRORS, RabbitConnection

RETRY_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600)
"""Delays that have a queue, in seconds. A delay is rounded up; a longer one ends early and is asked for again."""

ANSWER_SECONDS = 10.0

DELIVERY_LIMIT = 20
"""How often a message may come back because its worker died. Fixed: a queue's arguments cannot be changed later."""

NO_LIMIT = 1_000_000_000
"""RabbitMQ 4 gives every quorum queue a delivery limit of 20; looking at dead letters must not use it up."""

_LOSSLESS = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
"""Dead-lettering that waits for the target's confirm (RabbitMQ docs, "Quorum Queues"); it needs reject-publish."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The names that belong to a request queue and a response queue."""

    request: str
    response: str

    @property
    def dead_exchange(self) -> str:
        """Where dead messages are published."""
        return f"{self.request}.dlx"

    @property
    def dead(self) -> str:
        """Where they are kept."""
        return f"{self.request}.dlq"

    def retry(self, after: float) -> str:
        """Return the queue from which a message comes back no earlier than `after`, or as late as any does."""
        step = next((step for step in RETRY_STEPS if step >= after), RETRY_STEPS[-1])
        return f"{self.request}.retry.{step}"

    @property
    def own(self) -> frozenset[str]:
        """Queues that nobody may name as the place of a response: it would be taken for a request."""
        return frozenset({self.request, self.dead, *map(self.retry, RETRY_STEPS)})

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return every queue's arguments."""
        quorum: dict[str, Any] = {"x-queue-type": "quorum"}
        request = (
            quorum
            | _LOSSLESS
            | {
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-dead-letter-exchange": self.dead_exchange,
            }
        )
        queues = {
            self.dead: quorum | {"x-overflow": "reject-publish", "x-delivery-limit": NO_LIMIT},
            self.request: request,
            self.response: quorum,
        }
        for step in RETRY_STEPS:
            queues[self.retry(step)] = (
                quorum
                | _LOSSLESS
                | {
                    "x-message-ttl": step * 1_000,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": self.request,
                }
            )
        return queues


async def declare(connection: RabbitConnection, topology: Topology) -> None:
    """Create what does not exist; idempotent.

    Raises:
        ConfigurationError: a queue exists with other arguments, or we may not declare.
        StoreUnavailable: the broker cannot be reached.
    """
    await ask(connection, topology.dead_exchange, "exchange", _declare_exchange(topology))
    for name, arguments in topology.queues().items():
        await ask(connection, name, "queue", _declare_queue(name, arguments))
    await ask(connection, topology.dead, "queue", _bind(topology))


async def check(connection: RabbitConnection, topology: Topology) -> None:
    """Check that everything exists, and create nothing.

    Raises:
        ConfigurationError: something does not exist, or we may not see it.
        StoreUnavailable: the broker cannot be reached.
    """
    await ask(connection, topology.dead_exchange, "exchange", _see_exchange(topology))
    for name in topology.queues():
        await ask(connection, name, "queue", see_queue(name))


def see_queue(name: str) -> Any:
    """Return a conversation that answers with a queue's counts, or ends in 404."""

    async def converse(channel: Any) -> Any:
        return await channel.queue_declare(name, passive=True)

    return converse


def _see_exchange(topology: Topology) -> Any:
    async def converse(channel: Any) -> Any:
        return await channel.exchange_declare(topology.dead_exchange, passive=True)

    return converse


def _declare_exchange(topology: Topology) -> Any:
    async def converse(channel: Any) -> Any:
        return await channel.exchange_declare(
            topology.dead_exchange, exchange_type="fanout", durable=True
        )

    return converse


def _declare_queue(name: str, arguments: dict[str, Any]) -> Any:
    async def converse(channel: Any) -> Any:
        return await channel.queue_declare(name, durable=True, arguments=arguments)

    return converse


def _bind(topology: Topology) -> Any:
    async def converse(channel: Any) -> Any:
        return await channel.queue_bind(topology.dead, topology.dead_exchange)

    return converse


async def ask(connection: RabbitConnection, name: str, kind: str, conversation: Any) -> Any:
    """Hold one conversation on a channel of its own, with its refusals in our words.

    It is never cancelled: a call that is cancelled half-way leaves channel and broker with different views of the
    protocol's state, for which the broker may close the connection with everything that is in work on it.
    """
    task = asyncio.create_task(_converse(connection, name, kind, conversation))
    task.add_done_callback(_forget)
    done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
    if not done:
        raise StoreUnavailable(f"RabbitMQ: {kind} {name}: no answer in {ANSWER_SECONDS:.0f} s")
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _converse(connection: RabbitConnection, name: str, kind: str, conversation: Any) -> Any:
    async with connection.temporary_channel() as channel:
        try:
            return await conversation(channel)
        except ChannelPreconditionFailed as error:
            raise ConfigurationError(
                f"RabbitMQ: {kind} {name} exists with other arguments ({error.args[-1]}): delete it, or set "
                f"PLEXUS_RABBITMQ_DECLARE=false to use what exists"
            ) from error
        except ChannelNotFoundEntity as error:
            raise ConfigurationError(
                f"RabbitMQ: {kind} {name} does not exist: create it, or set PLEXUS_RABBITMQ_DECLARE=true"
            ) from error
        except ChannelAccessRefused as error:
            raise ConfigurationError(
                f"RabbitMQ: this user has no permission for {kind} {name}"
            ) from error
        except CONNECTION_ERRORS as error:
            raise StoreUnavailable(f"RabbitMQ: {kind} {name}: {type(error).__name__}") from error
