"""A queue within this process: for the embedded single process, demos and tests."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

import msgspec

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.transports.base import Choose, DeadMessage, Delivery, Envelope, QueueStats


class MemoryQueue:
    """Requests, responses and dead letters of one process. It forgets them when the process ends."""

    def __init__(self, name: str = "memory") -> None:
        """Start empty."""
        self.name = name
        self.responses: list[ScoringResponse] = []
        self.dead: dict[str, tuple[Envelope, DeadMessage]] = {}
        self._waiting: deque[Envelope] = deque()
        self._held: dict[str, Envelope] = {}
        self._delayed: set[asyncio.TimerHandle] = set()
        self._ids = itertools.count(1)
        self._arrived = asyncio.Event()

    def put(self, envelope: Envelope, *, delay: float = 0.0) -> None:
        """Add a message, due after `delay` seconds."""
        if delay > 0:
            handle: asyncio.TimerHandle

            def due() -> None:
                self._delayed.discard(handle)
                self.put(envelope)

            handle = asyncio.get_running_loop().call_later(delay, due)
            self._delayed.add(handle)
            return
        self._waiting.append(envelope)
        self._arrived.set()

    def take(self, limit: int) -> list[Envelope]:
        """Take messages, which are held until given up."""
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._held |= {envelope.message_id: envelope for envelope in taken}
        if not self._waiting:
            self._arrived.clear()
        return taken

    def give_up(self, envelope: Envelope) -> None:
        """Hold a message no longer."""
        self._held.pop(envelope.message_id, None)

    async def wait(self) -> None:
        """Wait until a message is there."""
        await self._arrived.wait()

    def wake(self) -> None:
        """Let `wait` return."""
        self._arrived.set()

    async def respond(self, response: ScoringResponse) -> None:
        """Keep the response (`ports.Responder`)."""
        self.responses.append(response)

    async def send(
        self, body: str, *, request_id: str, traceparent: str | None = None, delay: float = 0.0
    ) -> None:
        """Put a request on the queue."""
        envelope = Envelope(
            message_id=str(next(self._ids)),
            body=body,
            correlation_id=request_id,
            traceparent=traceparent,
            sent_at=time.time(),
        )
        self.put(envelope, delay=delay)

    async def stats(self) -> QueueStats:
        """Count."""
        return QueueStats(
            waiting=len(self._waiting),
            in_flight=len(self._held),
            delayed=len(self._delayed),
            dead=len(self.dead),
        )

    async def dead_letters(self, limit: int) -> AsyncIterator[DeadMessage]:
        """Yield the dead, oldest first."""
        for _, message in list(self.dead.values())[:limit]:
            yield message

    async def redrive(self, choose: Choose, *, limit: int) -> int:
        """Move dead messages back."""
        moved = 0
        for envelope, message in list(self.dead.values())[:limit]:
            if await choose(message):
                self.put(msgspec.structs.replace(envelope, deliveries=1))
                del self.dead[message.id]
                moved += 1
        return moved

    async def discard(self, choose: Choose, *, limit: int) -> int:
        """Forget dead messages."""
        chosen = [m for _, m in list(self.dead.values())[:limit] if await choose(m)]
        for message in chosen:
            del self.dead[message.id]
        return len(chosen)

    async def exists(self) -> bool:
        """Return: this process is there."""
        return True

    async def problem(self) -> str | None:
        """Return: nothing is known."""
        return None

    async def aclose(self) -> None:
        """Forget what is delayed."""
        for handle in self._delayed:
            handle.cancel()
        self._delayed.clear()


class MemorySource:
    """`Source` of a `MemoryQueue`."""

    hold_seconds: float | None = None
    max_deliveries: int | None = None

    def __init__(self, queue: MemoryQueue) -> None:
        """Take messages of `queue`."""
        self._queue = queue
        self._stopped = False
        self.name = queue.name

    async def open(self) -> None:
        """Nothing to open."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages."""
        if not self._stopped:
            await self._queue.wait()
        if self._stopped:
            return ()
        return [_MemoryDelivery(self._queue, envelope) for envelope in self._queue.take(limit)]

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing to extend: a held message stays held."""

    async def stop(self) -> None:
        """Take no further messages."""
        self._stopped = True
        self._queue.wake()

    async def check(self) -> None:
        """Return: this process is there."""

    async def aclose(self) -> None:
        """Nothing to close: the queue belongs to who made it."""


class _MemoryDelivery:
    def __init__(self, queue: MemoryQueue, envelope: Envelope) -> None:
        self._queue = queue
        self.envelope = envelope

    async def ack(self) -> None:
        self._queue.give_up(self.envelope)

    async def retry(self, after: float, *, counted: bool) -> None:
        self._queue.give_up(self.envelope)
        deliveries = self.envelope.deliveries + counted
        again = msgspec.structs.replace(self.envelope, deliveries=deliveries)
        self._queue.put(again, delay=after)

    async def dead_letter(self, reason: ErrorInfo) -> None:
        envelope = self.envelope
        body = (
            envelope.body
            if isinstance(envelope.body, str)
            else envelope.body.decode(errors="replace")
        )
        message = DeadMessage(
            id=envelope.message_id,
            body=body,
            reason_code=reason.code,
            reason=reason.message,
            died_at=time.time(),
        )
        self._queue.dead[message.id] = (envelope, message)
        self._queue.give_up(envelope)

    async def abandon(self) -> None:
        await self.retry(0.0, counted=False)
