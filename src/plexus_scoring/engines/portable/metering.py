"""Stops what runs away: a scorecard's templates and Python count their steps, time and memory.

Both run inside the process, so every loop pass and call is a step of a `Meter`, which ends the run at its bounds. What
a single operation may make is bounded in `bounds`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, NoReturn

_LOOK_BYTES: Final = 16 * 1024 * 1024
_LOOK_SECONDS: Final = 0.002
_RECENT_SECONDS: Final = 1.0
# Ten runs that share one interpreter each take ten times as long, and none of them is to blame.
_PATIENCE: Final = 12.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Stopped(BaseException):
    """The run went over a bound. The caller turns it into `BudgetExceeded`.

    No `Exception`: the code that is stopped must not be able to catch it.
    """


class Meter:
    """Counts one run's steps, and stops the run at its bounds. Once stopped, every further step stops it again.

    Args:
        steps: Loop passes and calls allowed.
        seconds: Processor time allowed to the thread that runs.
        wall: Time allowed by the clock, all its waiting for other threads included; by default a dozen times `seconds`.
        memory: Bytes by which the process may grow meanwhile (Linux; elsewhere only values' sizes are bounded).
    """

    __slots__ = (
        "_base",
        "_cpu_deadline",
        "_deadline",
        "_grown",
        "_memory",
        "_next_look",
        "_seconds",
        "_steps",
        "_steps_left",
        "_wall",
        "_wall_deadline",
        "stopped",
    )

    def __init__(
        self, *, steps: int, seconds: float, memory: int, wall: float | None = None
    ) -> None:
        self._steps = self._steps_left = steps
        self._seconds = seconds
        self._wall = seconds * _PATIENCE if wall is None else wall
        self._memory = memory
        self._grown = 0
        self.stopped: str | None = None
        self.start()

    def start(self) -> None:
        """Let the time begin now, in this thread: a run may have waited for a thread of its own."""
        now = time.monotonic()
        self._base = _recent_resident_bytes(now)
        self._cpu_deadline = time.thread_time() + self._seconds
        self._wall_deadline = now + self._wall
        self._deadline = now + min(self._seconds, self._wall)
        self._next_look = now + _LOOK_SECONDS
        if self.stopped is not None:
            self._next_look = 0.0

    def step(self) -> None:
        """Count one loop pass or call."""
        # The clock is read at each step, for a few steps may each make a value of many megabytes.
        self._steps_left -= 1
        now = time.monotonic()
        if now >= self._next_look or self._steps_left < 0:
            self._look(now)

    def grow(self, size: int) -> None:
        """Count a value of `size` bytes that an operation is about to make."""
        self._grown += size
        if self._grown >= _LOOK_BYTES:
            self._grown = 0
            self._look(time.monotonic())

    def cancel(self) -> None:
        """Stop the run at its next step, from another thread."""
        self.stopped = "cancelled"
        self._next_look = 0.0

    def seconds_left(self) -> float:
        """Return the time that is left, at least a millisecond."""
        wall = self._wall_deadline - time.monotonic()
        return max(min(wall, self._cpu_deadline - time.thread_time()), 0.001)

    def stop(self, reason: str) -> NoReturn:
        """Stop the run."""
        self.stopped = reason
        self._next_look = 0.0
        raise Stopped(reason)

    def _look(self, now: float) -> None:
        if self.stopped is not None:
            raise Stopped(self.stopped)
        if self._steps_left < 0:
            self.stop(f"more than {self._steps:,} loop passes and calls")
        if now > self._deadline:
            self._extend(now)
        if resident_bytes() - self._base > self._memory:
            self.stop(f"more than {self._memory // 1024 // 1024} MiB of memory")
        self._next_look = now + _LOOK_SECONDS

    def _extend(self, now: float) -> None:
        """Stop the run if the time was its own; else wait for as long as it still has."""
        if now > self._wall_deadline:
            self.stop(f"longer than {self._wall:g} s")
        left = self._cpu_deadline - time.thread_time()
        if left <= 0:
            self.stop(f"longer than {self._seconds:g} s")
        self._deadline = min(now + left, self._wall_deadline)


METER: ContextVar[Meter | None] = ContextVar("meter", default=None)
"""The running template's or function's meter."""


def resident_bytes() -> int:
    """Return the process's resident memory, or 0 where the system does not tell cheaply."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123 - Path doubles the cost
            return int(file.read(128).split()[1]) * _PAGE
    except OSError:
        return 0


_recent: tuple[float, int] = (float("-inf"), 0)


def _recent_resident_bytes(now: float) -> int:
    """Return the process's memory of at most a second ago: reading it for each run would cost more than the run."""
    global _recent  # noqa: PLW0603 - one process, one memory
    if now - _recent[0] > _RECENT_SECONDS:
        _recent = (now, resident_bytes())
    return _recent[1]


def stop(reason: str) -> NoReturn:
    """Stop the running meter's run."""
    meter = METER.get()
    if meter is not None:
        meter.stop(reason)
    raise Stopped(reason)


def step() -> None:
    """Count a step of the running meter."""
    meter = METER.get()
    if meter is not None:
        meter.step()


def metered(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items, each a step."""
    meter = METER.get()
    if meter is None:
        yield from items
        return
    for item in items:
        meter.step()
        yield item
