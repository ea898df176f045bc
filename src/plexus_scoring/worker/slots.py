"""Scores in work at a time, and how many jobs may be beside them on their way to the store and the broker.

A job that is being claimed, stored or answered needs no slot of the engine. If it held one, an engine of 0.1 s with
20 ms of transactions around it would be idle for a sixth of the time. So jobs are taken ahead: as many as Little's law
says are outside a full engine (slots by seconds outside, over seconds inside), and half as many again, because they
come back from shared transactions in waves. Long scores take few ahead.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from plexus_scoring.model.errors import StoreUnavailable

SLOT_WAIT_SECONDS = 10.0
"""After this a job that was taken ahead goes back, for any worker to take. It is meant to wait milliseconds."""
SLACK = 1.5
"""Jobs taken ahead for each that is outside on average. With 1, slots stand empty between two waves."""
MOST_AHEAD = 3
"""Jobs taken ahead at most for each slot: a store or broker that slows down must not fill the memory."""
_WEIGHT = 0.05  # of one job in the averages: they follow a change within some tens of jobs


class NoSlot(StoreUnavailable):
    """Longer scores than before hold all slots. It says nothing about the job, so it costs it no attempt."""


class Slots:
    """The engine's slots of a process."""

    def __init__(self, count: int) -> None:
        """Let `count` scores run at a time."""
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._scoring = 0.0
        self._in_engine = 0.0  # scoring, and waiting for a slot
        self._in_work: float | None = None

    def ahead(self) -> int:
        """Return how many jobs may be in work beyond the number of slots; none before the first job has ended."""
        if self._in_work is None:
            return 0
        outside = max(0.0, self._in_work - self._in_engine)
        needed = self._count * outside / max(self._scoring, 1e-6)
        return min(MOST_AHEAD * self._count, round(SLACK * needed))

    def job_took(self, seconds: float) -> None:
        """Tell of a job that has ended: `seconds` from taking its message to settling it."""
        self._in_work = _mean(self._in_work or seconds, seconds)

    def watch(self, engine: Any) -> Any:
        """Return what stands in for the engine and takes a slot for each score."""
        return _Slotted(engine, self)

    async def score(self, engine: Any, context: Any) -> Any:
        """Score in a slot. Raises NoSlot."""
        came = time.monotonic()
        if self._free.locked():
            try:
                async with asyncio.timeout(SLOT_WAIT_SECONDS):
                    await self._free.acquire()
            except TimeoutError:
                raise NoSlot("all slots are held by long scores; the job goes back") from None
        else:
            await self._free.acquire()
        began = time.monotonic()
        try:
            return await engine.score(context)
        finally:
            self._free.release()
            now = time.monotonic()
            self._scoring = _mean(self._scoring or now - began, now - began)
            self._in_engine = _mean(self._in_engine or now - came, now - came)


class _Slotted:
    def __init__(self, engine: Any, slots: Slots) -> None:
        self._engine = engine
        self._slots = slots

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def score(self, context: Any) -> Any:
        return await self._slots.score(self._engine, context)


def _mean(mean: float, value: float) -> float:
    return mean + _WEIGHT * (value - mean)
