"""Publishes of one turn of the loop, sent together: one write for all of them, a confirm awaited for each.

aiormq's own `basic_publish` was a quarter of what a job without work costs: a lock, a timer, several futures
and a write for each message. This keeps aiormq's bookkeeping (delivery tags, confirmations, returned messages), so
that its reader settles the futures, and does the rest once a turn.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections import deque
from typing import Any, NamedTuple

from aiormq import spec
from aiormq.abc import ChannelFrame
from aiormq.exceptions import AMQPError
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

_SWEEP_SECONDS = 1.0


class _Publish(NamedTuple):
    confirm: asyncio.Future[Any]
    message_id: str
    head: bytes
    body: bytes


class Publisher:
    """Confirmed, mandatory publishing over one channel, on which nobody else publishes."""

    def __init__(self, channel: Any, *, confirm_seconds: float) -> None:
        """Use an aiormq channel with publisher confirms; a confirm that takes longer is given up."""
        self._channel = channel
        self._confirm_seconds = confirm_seconds
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Publish] = []
        self._sent: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._by_id: dict[str, asyncio.Future[Any]] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._methods: dict[tuple[str, str], bytes] = {}
        self._closing: asyncio.Future[Any] = channel.closing
        self._closing.add_done_callback(self._ended)

    @property
    def is_closed(self) -> bool:
        """Whether the channel has ended."""
        return self._closing.done() or bool(self._channel.is_closed)

    async def publish(
        self, body: bytes, properties: spec.Basic.Properties, *, exchange: str, routing_key: str
    ) -> None:
        """Send at the end of this turn and wait for the confirm.

        Raises:
            aiormq.exceptions.PublishError: no queue takes it.
            aiormq.exceptions.DeliveryError: the broker refused it.
            ConnectionError, TimeoutError: no confirm came.
            TypeError, ValueError, OverflowError: AMQP has no frame for such properties or such a routing key.
        """
        message_id = properties.message_id or uuid.uuid4().hex
        properties.message_id = message_id
        # The broker names a message that it returns by this id only: never two of one id at a time.
        while (other := self._by_id.get(message_id)) is not None:
            await asyncio.wait({other})
        if self.is_closed:
            raise ConnectionError("the channel is closed")
        # Before anything is noted down: what cannot be encoded must fail alone, and not with all of its turn.
        header = ContentHeader(body_size=len(body), properties=properties)
        head = self._method(exchange, routing_key) + marshal(header, self._channel.number)
        confirm = self._by_id[message_id] = self._loop.create_future()
        confirm.add_done_callback(functools.partial(self._settled, message_id))
        self._pending.append(_Publish(confirm, message_id, head, body))
        self._sent.append((self._loop.time() + self._confirm_seconds, confirm))
        if self._flushing is None:
            self._flushing = self._loop.create_task(self._flush())
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        await confirm

    async def _flush(self) -> None:
        channel = self._channel
        try:
            while self._pending:
                async with channel.lock:
                    frames = self._frames()
                    await channel.write_queue.put(frames)
        except (AMQPError, OSError, RuntimeError) as error:
            self._fail(f"not sent: {type(error).__name__}")
        finally:
            self._flushing = None

    def _frames(self) -> ChannelFrame:
        """Number what is pending in the order in which it is written, and return its bytes."""
        channel, number = self._channel, self._channel.number
        pending, self._pending = self._pending, []
        parts: list[bytes] = []
        for confirm, message_id, head, body in pending:
            if confirm.done():
                continue  # its caller has gone
            parts.append(head)
            size = channel.max_content_size
            parts += (
                marshal(ContentBody(body[start : start + size]), number)
                for start in range(0, len(body), size)
            )
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = confirm
            channel.message_id_delivery_tag[message_id] = channel.delivery_tag
        return ChannelFrame(payload=b"".join(parts), should_close=False)

    def _method(self, exchange: str, routing_key: str) -> bytes:
        known = self._methods.get((exchange, routing_key))
        if known is not None:
            return known
        frame = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        method = marshal(frame, self._channel.number)
        if len(self._methods) < 100:  # a reply queue for each caller must not pile up  # noqa: PLR2004
            self._methods[exchange, routing_key] = method
        return method

    def _settled(self, message_id: str, confirm: asyncio.Future[Any]) -> None:
        del self._by_id[message_id]
        self._channel.message_id_delivery_tag.pop(message_id, None)
        if not confirm.cancelled():
            confirm.exception()  # its caller may have gone

    def _sweep(self) -> None:
        """Forget the confirms that came, and give up those that are overdue."""
        now = self._loop.time()
        while self._sent and (self._sent[0][1].done() or self._sent[0][0] <= now):
            _, confirm = self._sent.popleft()
            if not confirm.done():
                confirm.set_exception(TimeoutError("no confirm in time"))
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._sent else None

    def _ended(self, _: asyncio.Future[Any]) -> None:
        self._fail("the channel ended before the confirm")

    def _fail(self, reason: str) -> None:
        self._pending.clear()
        for _, confirm in self._sent:
            if not confirm.done():
                confirm.set_exception(ConnectionError(reason))
        self._sent.clear()
