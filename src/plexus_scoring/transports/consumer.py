"""The loop that every transport shares: receive, handle, settle, hold, drain.

Order of a stop: take nothing further from the broker; hand back what was received and not begun; let the rest end
within the drain's time, its messages still held; cancel what is left, which gives jobs and messages back
uncounted; then close.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import AttemptsExhausted, ScoringError, StoreUnavailable
from plexus_scoring.ports import Sleep
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import Metrics, NoMetrics
from plexus_scoring.transports.base import Delivery, Envelope, Gate, Pace, Source

log = logging.getLogger(__name__)

Decide = Callable[[Envelope, float], Awaitable[Disposition]]
"""Works on one message before a deadline (seconds since the epoch)."""

GIVE_BACK_SECONDS = 5.0
"""How long cancelled work may take to give its job and its message back."""
RECEIVE_BACKOFF = (0.2, 10.0)
"""First and longest wait after a broker could not be asked, in seconds."""
UNEXPECTED_RETRY_SECONDS = 30.0
_HOLD_CHECK_SECONDS = 1.0


class Consumer:
    """Runs up to `concurrency` messages of one source at a time."""

    def __init__(
        self,
        source: Source,
        decide: Decide,
        *,
        concurrency: int,
        drain_seconds: float,
        max_hold_seconds: float,
        max_deliveries: int,
        gate: Gate | None = None,
        pace: Pace | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Put the parts together.

        Args:
            source: Where messages come from.
            decide: What is done with one. It must not raise; if it does, the message is tried again.
            concurrency: Messages in work at a time.
            drain_seconds: How long work may go on after `stop`.
            max_hold_seconds: Longest time for one message: its deadline, and the cap of its extensions.
            max_deliveries: Counted deliveries after which a message is dead, unless the source has a limit of its own.
            gate: While it is shut no message is taken.
            pace: How many messages may be in work beyond `concurrency`; None: none.
            metrics: Where the number in flight and the messages' age go.
            clock: Monotonic seconds, for how long a message is held.
            sleep: Waits between two looks at what is held, and before a broker is asked again.
        """
        self._source = source
        self._decide = decide
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._max_hold = max_hold_seconds
        self._max_deliveries = max_deliveries
        self._gate = gate
        self._pace = pace
        self._metrics: Metrics = metrics or NoMetrics()
        self._clock = clock
        self._sleep = sleep
        self._running: dict[asyncio.Task[None], tuple[Delivery, float]] = {}
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._slot = asyncio.Event()
        self._helpers: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None
        self._holding = True

    @property
    def in_flight(self) -> int:
        """Messages in work now."""
        return len(self._running)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Stop receiving and drain; called again, stop at once."""
        if self._stopping.is_set():
            self._at_once.set()
            return
        self._stopping.set()
        self._slot.set()
        task = asyncio.get_running_loop().create_task(self._source.stop())
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        # Now, and not when `receive` returns: a long poll or a connect under way must not put off the drain.
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def run(self) -> None:
        """Work until `stop`. Raises what makes going on senseless, after the drain."""
        holding = asyncio.get_running_loop().create_task(self._hold())
        try:
            if await self._opened():
                await self._receive_until_stopped()
        finally:
            if not self._stopping.is_set():
                self.stop()
            await asyncio.gather(*self._helpers, return_exceptions=True)
            draining = self._draining or self._drain()
            await asyncio.gather(self._hand_back_received(), draining)
            self._holding = False
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            await self._source.aclose()

    async def _opened(self) -> bool:
        """Open the source, waiting for a broker that is away. False: stopped before it came."""
        wait = RECEIVE_BACKOFF[0]
        while not self._stopping.is_set():
            try:
                await self._source.open()
            except StoreUnavailable as error:
                log.warning(
                    "%s cannot be opened, again in %.1f s: %s", self._source.name, wait, error
                )
                await self._until_stopped_or(self._sleep(wait))
                wait = min(RECEIVE_BACKOFF[1], wait * 2)
            else:
                return True
        return False

    async def _receive_until_stopped(self) -> None:
        wait = RECEIVE_BACKOFF[0]
        while not self._stopping.is_set():
            ahead = 0 if self._pace is None else self._pace.ahead()
            free = self._concurrency + ahead - len(self._running)
            if free <= 0:
                self._slot.clear()
                await self._slot.wait()
                continue
            if self._gate is not None and not self._gate.is_open:
                await self._until_stopped_or(self._gate.wait_open())
                continue
            try:
                deliveries = await self._source.receive(free)
            except StoreUnavailable as error:
                log.warning(
                    "%s cannot be read, again in %.1f s: %s", self._source.name, wait, error
                )
                await self._until_stopped_or(self._sleep(wait))
                wait = min(RECEIVE_BACKOFF[1], wait * 2)
                continue
            wait = RECEIVE_BACKOFF[0]
            if self._stopping.is_set():
                await self._hand_back(deliveries)
                return
            for delivery in deliveries:
                self._start(delivery)

    async def _until_stopped_or(self, waiting: Awaitable[None]) -> None:
        stopped = asyncio.ensure_future(self._stopping.wait())
        other = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({stopped, other}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            other.cancel()

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._work(delivery))
        self._running[task] = (delivery, self._clock())
        task.add_done_callback(self._ended)
        self._metrics.gauge(names.IN_FLIGHT, len(self._running))

    def _ended(self, task: asyncio.Task[None]) -> None:
        _, since = self._running.pop(task)
        if self._pace is not None:
            self._pace.job_took(self._clock() - since)
        self._slot.set()
        self._metrics.gauge(names.IN_FLIGHT, len(self._running))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message was not settled", exc_info=error)

    async def _work(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        now = time.time()
        if envelope.sent_at is not None:
            self._metrics.observe(names.QUEUE_AGE_SECONDS, max(0.0, now - envelope.sent_at))
        else:
            self._metrics.count(names.QUEUE_AGE_UNKNOWN)
        try:
            if self._gate is not None and not self._gate.is_open:
                await self._gate.wait_open()  # it shut while the message was on its way
            disposition = await self._disposition(envelope, now + self._max_hold)
        except asyncio.CancelledError:
            await self._settle(delivery, None)
            raise
        await self._settle(delivery, disposition)

    async def _disposition(self, envelope: Envelope, deadline: float) -> Disposition:
        if envelope.deliveries > (self._source.max_deliveries or self._max_deliveries):
            tries = envelope.deliveries - 1
            text = f"message {envelope.message_id} was delivered {tries} times without success"
            return DeadLetter(AttemptsExhausted(text).info())
        try:
            return await self._decide(envelope, deadline)
        except Exception:
            # Not foreseen: only the limit of deliveries may end it.
            log.exception("message %s: unexpected error, it goes back", envelope.message_id)
            return Retry(UNEXPECTED_RETRY_SECONDS)

    async def _settle(self, delivery: Delivery, disposition: Disposition | None) -> None:
        """Tell the broker; None: release it."""
        try:
            match disposition:
                case Ack():
                    await delivery.ack()
                case Retry(after=after, counted=counted):
                    await delivery.retry(after, counted=counted)
                case DeadLetter(reason=reason):
                    await delivery.dead_letter(reason)
                case None:
                    await delivery.abandon()
        except ScoringError as error:
            # The broker still holds the message and delivers it again; the job's state answers that delivery.
            log.warning(
                "message %s not settled, it will come again: %s",
                delivery.envelope.message_id,
                error,
            )

    async def _hand_back_received(self) -> None:
        """Release what the source had taken from the broker and we had not taken from the source."""
        try:
            while deliveries := await self._source.receive(self._concurrency):
                await self._hand_back(deliveries)
        except StoreUnavailable as error:
            log.info("%s: nothing to hand back: %s", self._source.name, error)

    async def _hand_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            log.info("handing back %d messages that were not begun", len(deliveries))
        await asyncio.gather(*(self._settle(delivery, None) for delivery in deliveries))

    async def _hold(self) -> None:
        """Extend what is held, up to the cap; end what overran it."""
        extend_every = self._source.hold_seconds and self._source.hold_seconds / 3
        next_extension = self._clock() + (extend_every or 0)
        # Not for ever: redis-py takes a cancellation while it connects for a failure to connect.
        while self._holding:
            await self._sleep(min(_HOLD_CHECK_SECONDS, extend_every or _HOLD_CHECK_SECONDS))
            now = self._clock()
            # The handler has its deadline; this is for one that does not keep it.
            cap = self._max_hold + GIVE_BACK_SECONDS
            for task, (delivery, since) in self._running.items():
                if now - since > cap and not task.cancelling():
                    log.error(
                        "message %s held for %.0f s, releasing it",
                        delivery.envelope.message_id,
                        now - since,
                    )
                    task.cancel()
            if extend_every and now >= next_extension:
                next_extension = now + extend_every
                held = [
                    delivery for delivery, since in self._running.values() if now - since <= cap
                ]
                await self._extend(held)  # of none as well: the source may hold some for us

    async def _extend(self, held: Sequence[Delivery]) -> None:
        try:
            await self._source.extend(held)
        except StoreUnavailable as error:
            log.warning("%d messages not extended, trying again: %s", len(held), error)

    async def _drain(self) -> None:
        """Let work end in time, then cancel what is left."""
        if self._running:
            log.info("draining: %d messages in work", len(self._running))
            at_once = asyncio.ensure_future(self._at_once.wait())
            ended = asyncio.ensure_future(asyncio.wait(list(self._running)))
            await asyncio.wait(
                {at_once, ended},
                timeout=self._drain_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            at_once.cancel()
            ended.cancel()
        left = list(self._running)
        if not left:
            return
        log.warning("releasing %d messages that did not end in time", len(left))
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=GIVE_BACK_SECONDS)
