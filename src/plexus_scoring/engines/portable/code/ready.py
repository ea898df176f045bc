"""Sessions that stay open for the next call, for calls that are over in milliseconds.

A session belongs to one account and one version of a scorecard. What its code keeps in global names, it finds at its
next call, as in Python; no other account's and no other scorecard's code runs there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from plexus_scoring.engines.portable.code.errors import (
    is_over_time,
    is_refusal,
    log_printed,
    meaning,
)
from plexus_scoring.engines.portable.code.place import CodeRaised
from plexus_scoring.engines.portable.code.program import (
    STARTING,
    Owner,
    Program,
    session_options,
)

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

QUICK_SECONDS: Final = 0.012
GRACE_SECONDS: Final = 0.004
READY: Final = 4
"""Sessions that wait for calls, each in a worker of its own."""

MAX_CALLS: Final = 200
MAX_AGE_SECONDS: Final = 60.0

_PROCESSES: Final = READY + 2
_MAX_PRINTED: Final = 10_000
_WAIT_SECONDS: Final = 0.05


class _Open:
    """An open session, with what says when to replace it."""

    __slots__ = ("calls", "session", "since")

    def __init__(self, session: MontySession) -> None:
        self.session = session
        self.calls = 0
        self.since = time.monotonic()

    def is_old(self) -> bool:
        """Return whether the next call gets a fresh one: the top level may have asked for the date."""
        return self.calls >= MAX_CALLS or time.monotonic() - self.since > MAX_AGE_SECONDS


class ReadySessions:
    """Opens and closes sessions in one thread, so that a call on the event loop does neither."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorecard-code")
        self._lock = threading.Lock()
        self._open: OrderedDict[Owner, _Open] = OrderedDict()
        self._pending: set[Owner] = set()
        self._pool: Monty | None = None

    def call(self, owner: Owner, inputs: dict[str, Any]) -> str | None:
        """Call a program in its session; None where none is open, or where it cannot be used for this call.

        Raises:
            TimeoutError: The call is not quick.
            CodeRaised, BudgetExceeded: As `Interpreter.call`.
        """
        with self._lock:
            kept = self._open.pop(owner, None)
        if kept is None:
            self.prepare(owner)
            return None
        good = False
        try:
            if not kept.is_old():
                kept.calls += 1
                text = _fed(kept.session, owner[1], inputs)
                good = text is not None
                return text
        except CodeRaised:
            good = True
            raise
        finally:
            if good:
                self._keep(owner, kept)
            else:
                self.prepare(owner, kept.session)
        return None

    def prepare(self, owner: Owner, used: MontySession | None = None) -> None:
        """Open a session for the next call, and close one that is used up."""
        with self._lock:
            if used is None and (owner in self._open or owner in self._pending):
                return
            self._pending.add(owner)
        self._thread.submit(self._renew, used, owner)

    def _keep(self, owner: Owner, used: _Open) -> None:
        """Put a session back; another owner's may have been opened in its place meanwhile."""
        with self._lock:
            self._open[owner] = used
            full = len(self._open) > READY
            oldest = self._open.popitem(last=False)[1].session if full else None
        if oldest is not None:
            self._thread.submit(oldest.__exit__, None, None, None)

    async def aclose(self) -> None:
        """End the workers; a later call starts new ones."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)

    def _renew(self, used: MontySession | None, owner: Owner) -> None:
        """Close a session that is used up, and open the owner's next one."""
        if used is not None:
            used.__exit__(None, None, None)
        with self._lock:
            if owner in self._open:
                self._pending.discard(owner)
                return
            full = len(self._open) >= READY
            oldest = self._open.popitem(last=False)[1].session if full else None
        if oldest is not None:
            oldest.__exit__(None, None, None)
        session = self._opened(owner[1])
        with self._lock:
            self._pending.discard(owner)
            if session is not None:
                self._open[owner] = _Open(session)

    def _opened(self, program: Program) -> MontySession | None:
        """Return a session in which the code's top level has run; None where that does not work at once.

        The call that then goes without meets the same trouble, and tells it.
        """
        from pydantic_monty import CollectString, Monty, MontyError  # noqa: PLC0415 - 60 ms that only code pays

        try:
            if self._pool is None:
                with STARTING:
                    pool = Monty(
                        max_processes=_PROCESSES,
                        checkout_timeout=_WAIT_SECONDS,
                        feed_duration_limit_grace=GRACE_SECONDS,
                    )
                self._pool = pool.__enter__()
            session = self._pool.checkout(**session_options(QUICK_SECONDS))
            session.__enter__()
        except (OSError, RuntimeError, TimeoutError, MontyError):
            return None
        printed = CollectString(max_bytes=_MAX_PRINTED)
        try:
            session.feed_run(program.prelude, print_callback=printed)
            session.feed_run(program.code, print_callback=printed)
        except MontyError:
            session.__exit__(None, None, None)
            return None
        return session

    def _close(self) -> None:
        with self._lock:
            sessions = [kept.session for kept in self._open.values()]
            self._open.clear()
        for session in sessions:
            session.__exit__(None, None, None)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


def _fed(session: MontySession, program: Program, inputs: dict[str, Any]) -> str | None:
    from pydantic_monty import CollectString, MontyCrashedError, MontyError  # noqa: PLC0415 - as above

    printed = CollectString(max_bytes=_MAX_PRINTED)
    try:
        text = str(session.feed_run(program.call, inputs=inputs, print_callback=printed))
    except MontyError as error:
        if is_over_time(error):
            raise TimeoutError from None
        # What earlier calls left, or printed, may be too much for this one: it gets a session of its own.
        raised = None if isinstance(error, MontyCrashedError) else error.exception()
        if raised is None or isinstance(raised, MemoryError) or is_refusal(error):
            return None
        log_printed(program.place, printed)
        raise meaning(
            program.place, error, seconds=QUICK_SECONDS, at_top_level=False, raised=raised
        ) from None
    log_printed(program.place, printed)
    return text
