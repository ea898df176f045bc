"""Runs scorecard code in Monty, a Python interpreter whose sessions live in worker processes without files or network.

    call ── quick, in the session of its account and scorecard ── 12 ms are over ─┐
        └── none is open yet, or the program was not quick ───────────────────────┴── a session of its own, 5 s

A quick call is made on the event loop, since handing it to a thread and back takes longer than most calls. The worker
is killed 4 ms after the 12 ms, and a turn of the loop makes quick calls for 1 ms, so that nothing waits for 20 ms.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from plexus_scoring.engines.portable.code.answer import crossing
from plexus_scoring.engines.portable.code.errors import (
    WorkerDied,
    is_refusal,
    log_printed,
    meaning,
)
from plexus_scoring.engines.portable.code.place import CodePlace
from plexus_scoring.engines.portable.code.program import (
    ACCOUNT,
    STARTING,
    Owner,
    Program,
    session_options,
)
from plexus_scoring.engines.portable.code.ready import ReadySessions
from plexus_scoring.model.errors import BudgetExceeded, ConfigurationError

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

MAX_SECONDS: Final = 5.0
"""Time of one call. A worker that does not stop by itself is killed a second later."""

MAX_PRINTED: Final = 1_000_000
"""Bytes that one call may print."""

PROCESSES: Final = 4
"""Workers that serve calls which are not quick."""

_SLOW_CALLS: Final = 100
# Far more than every limit within: a worker that gives no sign for so long is killed.
_SILENT_SECONDS: Final = 60.0
_NOTED: Final = 1_000
_TURN_SECONDS: Final = 0.001


class Interpreter:
    """Two bounded pools of workers, started when they are first needed.

    Args:
        seconds: Time of one call.
        quick: Whether quick calls are made on the event loop.
    """

    def __init__(self, *, seconds: float = MAX_SECONDS, quick: bool = True) -> None:
        self._seconds = seconds
        self._ready = ReadySessions() if quick else None
        # How many calls of a program go by before a quick one is tried: the first, and more where one was not quick.
        self._passes: dict[Owner, int] = {}
        self._spent = 0.0
        self._threads = ThreadPoolExecutor(PROCESSES, thread_name_prefix="scorecard-code-slow")
        self._starting = threading.Lock()
        self._pool: Monty | None = None

    async def call(self, program: Program, given: Any) -> str:
        """Run a program's call, in which `given` has the name ``_plexus_given``, and return its text.

        A worker that dies, no limit being exceeded, is replaced, and the program runs once more.

        Raises:
            ScorecardError: The code cannot be run up to the call: its top level raises or takes too long.
            CodeRaised: The call raised.
            BudgetExceeded: It took too much time or memory, or printed too much.
            ConfigurationError: The interpreter cannot be started.
        """
        inputs = {"_plexus_given": given}
        text = await self._quick(program, inputs)
        if text is not None:
            return text
        try:
            return await self._call(program, inputs)
        except WorkerDied:
            pass
        try:
            return await self._call(program, inputs)
        except WorkerDied as died:
            raise BudgetExceeded(
                f"{program.place}: stopped, the interpreter ended twice: {died}"
            ) from died

    async def aclose(self) -> None:
        """End the workers. Safe to call twice; a later call starts new ones."""
        if self._ready is not None:
            await self._ready.aclose()
        await asyncio.to_thread(self._close)

    async def _quick(self, program: Program, inputs: dict[str, Any]) -> str | None:
        """Make the call on the event loop if it is likely to be quick; None where it was not made, or not over."""
        if self._ready is None:
            return None
        owner = (ACCOUNT.get(), program)
        if self._passes.get(owner, 1) > 0:
            self._note(owner, self._passes.get(owner, 1) - 1)
            self._ready.prepare(owner)
            return None
        while self._spent > _TURN_SECONDS:  # noqa: ASYNC110 - the next turn resets it
            await asyncio.sleep(0)  # others have their turn first
        began = time.perf_counter()
        try:
            return self._ready.call(owner, inputs)
        except TimeoutError:
            self._note(owner, _SLOW_CALLS)
            return None
        finally:
            if not self._spent:
                asyncio.get_running_loop().call_soon(self._new_turn)
            self._spent += time.perf_counter() - began

    def _new_turn(self) -> None:
        self._spent = 0.0

    def _note(self, owner: Owner, passes: int) -> None:
        self._passes.pop(owner, None)
        self._passes[owner] = passes
        if len(self._passes) > _NOTED:
            del self._passes[next(iter(self._passes))]

    async def _call(self, program: Program, inputs: dict[str, Any]) -> str:
        # In its context the thread finds the job's log.
        run = partial(contextvars.copy_context().run, self._run, program, inputs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _run(self, program: Program, inputs: dict[str, Any]) -> str:
        """Run in a thread, which waits while the worker computes; a call whose caller has gone ends with its limits."""
        session = self._started().checkout(**session_options(self._seconds))
        session.__enter__()
        try:
            self._feed(session, program.prelude, program.place)
            self._feed(session, program.code, program.place)
            return str(self._feed(session, program.call, program.place, inputs))
        finally:
            session.__exit__(None, None, None)

    def _feed(
        self,
        session: MontySession,
        code: str,
        place: CodePlace,
        inputs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a piece of Python in a session, and write what it prints to the job's log."""
        from pydantic_monty import CollectString, MontyError  # noqa: PLC0415 - 60 ms that only code pays

        printed = CollectString(max_bytes=MAX_PRINTED)
        try:
            try:
                return session.feed_run(code, inputs=inputs, print_callback=printed)
            except MontyError as error:
                if inputs is None or not is_refusal(error):
                    raise
            return session.feed_run(code, inputs=crossing(inputs), print_callback=printed)
        except MontyError as error:
            top = inputs is None
            raise meaning(place, error, seconds=self._seconds, at_top_level=top) from None
        finally:
            log_printed(place, printed)

    def _started(self) -> Monty:
        with self._starting:
            if self._pool is None:
                self._pool = _start_pool()
            return self._pool

    def _close(self) -> None:
        with self._starting:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


def _start_pool() -> Monty:
    try:
        from pydantic_monty import Monty, MontyError  # noqa: PLC0415 - 60 ms that only code pays
    except ImportError as error:
        raise ConfigurationError(
            f"Python in scorecards needs the package pydantic-monty, which cannot be imported: {error}. Install the "
            "extra `portable`; the package needs glibc 2.28 or newer"
        ) from error
    try:
        with STARTING:
            pool = Monty(max_processes=PROCESSES, request_timeout=_SILENT_SECONDS)
        return pool.__enter__()
    except (OSError, RuntimeError, MontyError) as error:
        raise ConfigurationError(
            f"the interpreter for Python in scorecards cannot start: {error}. Reinstall pydantic-monty, or set "
            "MONTY_BIN to its program"
        ) from error
