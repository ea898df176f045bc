"""How long a job has waited for its turn at a provider: no attempt of the job's, and no time of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class TurnClock:
    """Adds up the time in which a job waited for turns. Calls that wait at the same time count once.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._waiting = 0
        self._since = 0.0
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within."""
        if self._waiting == 0:
            self._since = self._clock()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._waited += self._clock() - self._since

    @property
    def mostly(self) -> bool:
        """Whether the job has waited for more than half of its time, so that its time tells nothing of it."""
        now = self._clock()
        waited = self._waited + (now - self._since if self._waiting else 0.0)
        return waited > (now - self._began) / 2


TURNS: ContextVar[TurnClock | None] = ContextVar("plexus_scoring_model_turns", default=None)
"""The clock of the job that asks. An engine sets it; tasks that it starts inherit it."""


def waiting() -> contextlib.AbstractContextManager[None]:
    """Count the time within as waiting, where a job asks."""
    clock = TURNS.get()
    return contextlib.nullcontext() if clock is None else clock.waiting()
