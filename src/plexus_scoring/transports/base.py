"""What every transport is made of: deliveries, the source they come from, and the queue's operations.

A transport implements `Source` (take messages, extend them), `Delivery` (settle one message) and `QueueAdmin`
(send, count, look at dead letters). `transports.consumer` does what is the same for all of them.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import msgspec

from plexus_scoring.model.disposition import Disposition
from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.messages import ScoringRequest

Handle = Callable[[ScoringRequest, float | None], Awaitable[Disposition]]
"""`ScoringService.handle`: a request and the time at which its answer must be there."""

current_correlation_id: ContextVar[str | None] = ContextVar(
    "plexus_scoring_correlation", default=None
)
"""The sender's correlation id while its message is worked on: the response is made in the same task."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came, whatever brought it.

    Attributes:
        message_id: The broker's name for it, for logs.
        body: JSON text.
        deliveries: Counted deliveries, this one included; from 1.
        correlation_id: The sender's own id for the exchange, where the transport carries one.
        reply_to: Where the sender wants the response.
        traceparent: W3C trace context of the sender.
        sent_at: When it was first sent (seconds since the epoch), if told.
    """

    message_id: str
    body: str | bytes
    deliveries: int = 1
    correlation_id: str | None = None
    reply_to: str | None = None
    traceparent: str | None = None
    sent_at: float | None = None


class Delivery(Protocol):
    """One message in our hands. Exactly one of its methods is called, once.

    Each may raise `StoreUnavailable`: the broker then delivers the message again by its own rules.
    """

    @property
    def envelope(self) -> Envelope:
        """The message."""
        ...

    async def ack(self) -> None:
        """The work is durable: the message may go."""
        ...

    async def retry(self, after: float, *, counted: bool) -> None:
        """Have it delivered again, not before `after` seconds."""
        ...

    async def dead_letter(self, reason: ErrorInfo) -> None:
        """Keep it in the dead-letter queue, with its reason."""
        ...

    async def abandon(self) -> None:
        """Release it as if it had never been delivered: the process stops."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where deliveries come from."""

    name: str
    """The queue, for logs."""
    hold_seconds: float | None
    """For how long the broker leaves a delivery with us unless extended; None: as long as we are connected."""
    max_deliveries: int | None
    """Where the broker itself limits deliveries, the most of which we can still tell why; None: we limit them."""

    async def open(self) -> None:
        """Connect and check or declare the queues. Raises ConfigurationError, StoreUnavailable."""
        ...

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for messages and return at most `limit`; an empty answer means: ask again.

        After `stop` it returns at once with whatever had arrived. Raises StoreUnavailable.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Keep these, and what waits in the source, for another `hold_seconds`. Raises StoreUnavailable."""
        ...

    async def stop(self) -> None:
        """Take no further messages from the broker, and let `receive` return."""
        ...

    async def check(self) -> None:
        """Return if the broker is reachable. Raises StoreUnavailable."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages a queue holds. None: this broker does not tell."""

    waiting: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    dead: int | None = None

    @property
    def held(self) -> int:
        """Messages that are still to be worked on, or being worked on, as far as the broker tells."""
        return (self.waiting or 0) + (self.in_flight or 0) + (self.delayed or 0)


class DeadMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the dead-letter queue."""

    id: str
    body: str
    reason_code: str
    reason: str
    died_at: float | None = None


Choose = Callable[[DeadMessage], Awaitable[bool]]
"""Says of a dead message whether it is to go back to the queue."""


@runtime_checkable
class QueueAdmin(Protocol):
    """What the commands ``queue``, ``dlq`` and ``sweep`` need. Every method may raise StoreUnavailable."""

    async def send(
        self, body: str, *, request_id: str, traceparent: str | None = None, delay: float = 0.0
    ) -> None:
        """Put a request on the queue. Returning means that the broker has it."""
        ...

    async def stats(self) -> QueueStats:
        """Count."""
        ...

    def dead_letters(self, limit: int) -> AsyncIterator[DeadMessage]:
        """Yield at most `limit` dead messages, which stay where they are."""
        ...

    async def redrive(self, choose: Choose, *, limit: int) -> int:
        """Look at up to `limit` dead messages and move those that `choose` takes back to the queue, one by one.

        A message is on the queue before it leaves the dead letters: a crash in between doubles it, and the job's
        own state makes a double harmless. Returns how many were moved.
        """
        ...

    async def discard(self, choose: Choose, *, limit: int) -> int:
        """Look at up to `limit` dead messages and delete those that `choose` takes. Returns how many."""
        ...

    async def exists(self) -> bool:
        """Whether the request queue is there; it is not created."""
        ...

    async def problem(self) -> str | None:
        """Return what is wrong with the broker's set-up though it answers; None: nothing known."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


LONGEST_DELAY_SECONDS = 600.0


def growing_delay(seconds: float, deliveries: int) -> float:
    """Return a delay of about `seconds` that doubles with each delivery, up to ten minutes.

    While a dependency is away, a broker that counts every delivery then counts few.
    """
    bound: float = min(LONGEST_DELAY_SECONDS, seconds * 2.0 ** min(deliveries - 1, 16))
    return bound * random.uniform(0.5, 1)  # noqa: S311  jitter is no secret


class Gate(Protocol):
    """Says whether work may be taken now (a circuit breaker)."""

    @property
    def is_open(self) -> bool:
        """Whether work may be taken."""
        ...

    @property
    def on_trial(self) -> bool:
        """Whether one message shall find out if work can be done again."""
        ...

    async def wait_open(self) -> None:
        """Wait until work may be taken."""
        ...


class Pace(Protocol):
    """Says how many messages may be in work beyond the concurrency, because they are not at the engine."""

    def ahead(self) -> int:
        """Return their number now."""
        ...

    def job_took(self, seconds: float) -> None:
        """Hear of a message that was settled, `seconds` after its work began."""
        ...
