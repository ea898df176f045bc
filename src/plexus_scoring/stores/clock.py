"""The machine's time as a `Clock`, for stores that are given none."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall-clock time. Leases are compared between machines: keep NTP running."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
