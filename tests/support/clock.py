"""Time in tests: none of it is the machine's, but for what only a hang takes as long as."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

HANG_SECONDS = 120
"""How long a test waits for what must happen. On whatever machine, only a hang takes so long."""


class ManualClock:
    """Monotonic seconds that pass when the test says so; who sleeps wakes when enough of them have passed."""

    def __init__(self) -> None:
        self._now = 0.0
        self._moved = asyncio.Event()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        until = self._now + seconds
        while self._now < until:
            await self._moved.wait()


class ManualLimits:
    """Stands in for `asyncio.timeout`: a limit beyond `HANG_SECONDS` comes when the test says so, and only then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._timeout = asyncio.timeout
        self._scopes: list[asyncio.Timeout] = []
        monkeypatch.setattr(asyncio, "timeout", self._limit)

    def expire(self) -> None:
        """Let every limit that is waited under come now."""
        for scope in self._scopes:
            with contextlib.suppress(RuntimeError):  # it is over already
                scope.reschedule(asyncio.get_running_loop().time())

    def _limit(self, delay: float | None) -> asyncio.Timeout:
        if delay is None or delay <= HANG_SECONDS:
            return self._timeout(delay)
        scope = self._timeout(None)
        self._scopes.append(scope)
        return scope
