"""Holds a lease while work runs, and ends the work when the lease or the time is lost."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from plexus_scoring.model.errors import DeadlineExceeded, LeaseLost, describe, loggable
from plexus_scoring.model.job import Lease
from plexus_scoring.ports import Clock, JobStore

log = logging.getLogger(__name__)

# A third leaves room for two renewals that fail before the lease is gone.
RENEWALS_PER_LEASE = 3


class HeldLease:
    """Async context manager: the block runs while the lease is ours and before the deadline.

    The lease is renewed in the background. Leaving the block by loss of the lease raises `LeaseLost`; by the
    deadline, `DeadlineExceeded`; whatever the block itself raises passes through.

    No task is made until the first renewal is due, so a short job pays for a timer only.
    """

    def __init__(
        self,
        jobs: JobStore,
        clock: Clock,
        lease: Lease,
        *,
        lease_seconds: float,
        deadline: float,
    ) -> None:
        """Guard `lease`; `deadline` is in seconds since the epoch."""
        self._jobs = jobs
        self._clock = clock
        self._lease = lease
        self._seconds = lease_seconds
        self._deadline = deadline
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._lost: LeaseLost | None = None
        self._ending = False

    async def __aenter__(self) -> Self:
        """Start the timers."""
        self._loop = asyncio.get_running_loop()
        remaining = self._deadline - self._clock.now()
        self._scope = asyncio.timeout(max(0.0, remaining))
        await self._scope.__aenter__()
        self._schedule(self._seconds / RENEWALS_PER_LEASE)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop renewing, and say why the block was ended if we ended it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._lost is not None:
                raise self._lost from None
            raise DeadlineExceeded("the score did not end before its deadline") from None

    def ending(self) -> None:
        """Say that the job's end is being written: from here on the write itself finds out whether the lease holds.

        A renewal under way would otherwise meet the end that its own job has just reached, and take it for a loss.
        """
        self._ending = True

    def _schedule(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._start_renewal)

    def _start_renewal(self) -> None:
        self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            self._lease = await self._jobs.renew(self._lease, lease_seconds=self._seconds)
        except LeaseLost as lost:
            if self._ending:
                return
            self._lost = lost
            self._scope.reschedule(self._loop.time())
            return
        except Exception as error:  # noqa: BLE001  were it one that nobody foresaw, nobody would renew any more
            # The lease may still hold: the fence decides in the end, so the work goes on.
            log.warning("lease not renewed, trying again: %s", loggable(describe(error)))
            self._schedule(self._seconds / RENEWALS_PER_LEASE / 4)
            return
        self._schedule(self._seconds / RENEWALS_PER_LEASE)
