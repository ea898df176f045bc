"""How much one provider is asked at a time: a bound that adapts, budgets per minute, and a fair queue.

The bound halves when the provider throttles or stops answering and grows by about one per round of full use (AIMD,
as TCP does), so that several processes sharing one account settle on what it takes without knowing each other.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum, auto

from plexus_scoring.engines.models.settings import ProviderLimits

FLOW: ContextVar[str] = ContextVar("plexus_scoring_model_flow", default="")
"""Who asks: flows take turns, so that one job with hundreds of calls does not hold up the others.

An engine sets it to the job's id; tasks it starts inherit it.
"""


class Signal(Enum):
    """How a call ended, as far as the bound is concerned."""

    ANSWERED = auto()
    CONGESTED = auto()
    NEUTRAL = auto()


class AdaptiveBound:
    """A number of calls in flight that halves on congestion and grows slowly while it is used up."""

    def __init__(self, maximum: int) -> None:
        self._maximum = float(maximum)
        self._value = float(maximum)
        self._decreased_at = -math.inf

    @property
    def value(self) -> int:
        """Calls that may be in flight, at least 1."""
        return int(self._value)

    def learn(self, signal: Signal, *, started: float, now: float, in_flight: int) -> None:
        """Take in how a call that began at `started` ended; `in_flight` counts it still."""
        if signal is Signal.ANSWERED:
            if in_flight >= self.value:
                self._value = min(self._maximum, self._value + 1 / self._value)
        elif signal is Signal.CONGESTED and started >= self._decreased_at:
            # Calls begun before the last decrease tell of the load before it: they count once.
            self._value = max(1.0, min(self._value, in_flight) / 2)
            self._decreased_at = now


class TokenBucket:
    """A budget per minute that refills steadily and lets at most a tenth of a minute's worth go at once.

    A cost above the capacity waits for a full bucket and leaves it in debt, so that nothing waits for ever.
    """

    def __init__(self, per_minute: float, *, now: float) -> None:
        self._rate = per_minute / 60
        self._capacity = max(1.0, per_minute / 10)
        self._level = self._capacity
        self._at = now

    @property
    def capacity(self) -> float:
        """The most that goes at once (except for a single call that costs more)."""
        return self._capacity

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until `cost` may be taken; 0: now."""
        self._refill(now)
        missing = min(cost, self._capacity) - self._level
        # A rounding error of the refill must not become a wait that never ends.
        return 0.0 if missing <= 1e-9 * self._capacity else missing / self._rate

    def take(self, cost: float, now: float) -> None:
        """Take `cost`; a negative one returns what an estimate took too much."""
        self._refill(now)
        self._level = min(self._capacity, self._level - cost)

    def _refill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + max(0.0, now - self._at) * self._rate)
        self._at = max(now, self._at)


class _Waiter:
    __slots__ = ("flow", "tokens", "turn")

    def __init__(self, flow: str, tokens: int, turn: asyncio.Future[None]) -> None:
        self.flow = flow
        self.tokens = tokens
        self.turn = turn


class FairQueue:
    """Waiters in order of arrival within their flow, the flows taking turns."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._flows)

    def push(self, waiter: _Waiter) -> None:
        """Put a waiter at the end of its flow."""
        self._flows.setdefault(waiter.flow, deque()).append(waiter)

    def peek(self) -> _Waiter | None:
        """Return who is next, dropping those that gave up."""
        while self._flows:
            flow, waiters = next(iter(self._flows.items()))
            while waiters and waiters[0].turn.done():
                waiters.popleft()
            if waiters:
                return waiters[0]
            del self._flows[flow]
        return None

    def pop(self) -> None:
        """Take out who is next; its flow goes to the end of the round."""
        flow, waiters = next(iter(self._flows.items()))
        waiters.popleft()
        if waiters:
            self._flows.move_to_end(flow)
        else:
            del self._flows[flow]


class Permit:
    """One call in flight. Hand it back with `ProviderLimiter.release`, once."""

    __slots__ = ("started", "tokens")

    def __init__(self, started: float, tokens: int) -> None:
        self.started = started
        self.tokens = tokens


class ProviderLimiter:
    """Lets calls to one provider through. Belongs to one event loop.

    Args:
        limits: The bounds.
        clock: Seconds, never going back.
    """

    def __init__(
        self, limits: ProviderLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        now = clock()
        self._bound = AdaptiveBound(limits.concurrency)
        self._requests = _bucket(limits.requests_per_minute, now)
        self._tokens = _bucket(limits.tokens_per_minute, now)
        self._queue = FairQueue()
        self._paused_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0

    @property
    def bound(self) -> int:
        """Calls that may be in flight now."""
        return self._bound.value

    @property
    def pause(self) -> float:
        """Seconds for which the provider wants no call."""
        return max(0.0, self._paused_until - self._clock())

    async def acquire(self, *, tokens: int = 0) -> Permit:
        """Wait for a turn. Cancelling the call gives the turn up.

        Args:
            tokens: What the call will cost by estimate; `release` corrects it.
        """
        if self._queue or self._wait(tokens) > 0:
            waiter = _Waiter(FLOW.get(), tokens, asyncio.get_running_loop().create_future())
            self._queue.push(waiter)
            self._let_through()
            try:
                await waiter.turn
            except asyncio.CancelledError:
                if waiter.turn.done() and not waiter.turn.cancelled():
                    self._give_back(tokens)
                raise
        else:
            self._start(tokens)
        return Permit(self._clock(), tokens)

    def release(
        self,
        permit: Permit,
        signal: Signal,
        *,
        tokens: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """End a call.

        Args:
            permit: What `acquire` gave.
            signal: How the call ended.
            tokens: What it really cost; None: unknown, the estimate stands.
            retry_after: Seconds for which the provider wants no further call.
        """
        now = self._clock()
        self._bound.learn(signal, started=permit.started, now=now, in_flight=self.in_flight)
        self.in_flight -= 1
        if tokens is not None and self._tokens is not None:
            self._tokens.take(tokens - permit.tokens, now)
        if retry_after is not None and signal is Signal.CONGESTED:
            self._paused_until = max(self._paused_until, now + retry_after)
        self._let_through()

    def _wait(self, tokens: int) -> float:
        """Return the seconds until a call may start: 0 now, infinity when another call has to end first."""
        if self.in_flight >= self._bound.value:
            return math.inf
        now = self._clock()
        wait = self.pause
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(tokens, now))
        return wait

    def _start(self, tokens: int) -> None:
        now = self._clock()
        self.in_flight += 1
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    def _give_back(self, tokens: int) -> None:
        """Undo a turn that came in the same moment as its waiter was cancelled."""
        self.in_flight -= 1
        now = self._clock()
        if self._requests is not None:
            self._requests.take(-1, now)
        if self._tokens is not None:
            self._tokens.take(-tokens, now)
        self._let_through()

    def _let_through(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (waiter := self._queue.peek()) is not None:
            wait = self._wait(waiter.tokens)
            if wait > 0:
                if wait < math.inf:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(wait, self._let_through)
                return
            self._queue.pop()
            self._start(waiter.tokens)
            waiter.turn.set_result(None)


def _bucket(per_minute: float | None, now: float) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, now=now)
