"""Runs scorecard code in Monty, a Python interpreter whose sessions live in worker processes without files or network.

    call ── quick, in the session of its account and scorecard ── 12 ms are over ─┐
        └── none is open yet, or the program was not quick ───────────────────────┴── a session of its own, 5 s

A quick call is made on the event loop, since handing it to a thread and back takes longer than most calls. The worker
is killed 4 ms after the 12 ms, and a turn of the loop makes quick calls for 1 ms, so that nothing waits for 20 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
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
    from pydantic_monty import AsyncMonty, AsyncMontySession

MAX_SECONDS: Final = 5.0
"""Time of one call. A worker that does not stop by itself is killed a second later."""

MAX_PRINTED: Final = 1_000_000
"""Bytes that one call may print."""

PROCESSES: Final = 4
"""Workers that serve calls which are not quick."""

_SLOW_CALLS: Final = 100
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._turns = asyncio.Semaphore(PROCESSES)
        self._pool: AsyncMonty | None = None

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
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENT_SECONDS):
                    await pool.__aexit__(None, None, None)

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
        pool = await self._started()
        session = pool.checkout(**session_options(self._seconds))
        try:
            # Far more than every limit within: a session that gives no sign for so long takes its pool along.
            async with self._turns, asyncio.timeout(_SILENT_SECONDS) as silence:
                try:
                    await session.__aenter__()
                    await self._feed(session, program.prelude, program.place)
                    await self._feed(session, program.code, program.place)
                    return str(await self._feed(session, program.call, program.place, inputs))
                finally:
                    await session.__aexit__(None, None, None)
        except TimeoutError:
            if not silence.expired():
                raise
            if self._pool is pool:
                self._pool = None
            raise WorkerDied(f"it gave no sign for {_SILENT_SECONDS:g} s") from None

    async def _feed(
        self,
        session: AsyncMontySession,
        code: str,
        place: CodePlace,
        inputs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a piece of Python in a session, and write what it prints to the job's log."""
        from pydantic_monty import CollectString, MontyError  # noqa: PLC0415 - 60 ms that only code pays

        printed = CollectString(max_bytes=MAX_PRINTED)
        try:
            try:
                return await session.feed_run(code, inputs=inputs, print_callback=printed)
            except MontyError as error:
                if inputs is None or not is_refusal(error):
                    raise
            return await session.feed_run(code, inputs=crossing(inputs), print_callback=printed)
        except MontyError as error:
            top = inputs is None
            raise meaning(place, error, seconds=self._seconds, at_top_level=top) from None
        finally:
            log_printed(place, printed)

    async def _started(self) -> AsyncMonty:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Sessions and locks belong to the loop that made them.
            self._loop, self._pool = loop, None
            self._starting, self._turns = asyncio.Lock(), asyncio.Semaphore(PROCESSES)
        async with self._starting:
            if self._pool is None:
                self._pool = await _start_pool()
            return self._pool


async def _start_pool() -> AsyncMonty:
    try:
        from pydantic_monty import AsyncMonty, MontyError  # noqa: PLC0415 - 60 ms that only code pays
    except ImportError as error:
        raise ConfigurationError(
            f"Python in scorecards needs the package pydantic-monty, which cannot be imported: {error}. Install the "
            "extra `portable`; the package needs glibc 2.28 or newer"
        ) from error
    try:
        with STARTING:
            pool = AsyncMonty(min_processes=1, max_processes=PROCESSES)
        await pool.__aenter__()
    except (OSError, RuntimeError, MontyError) as error:
        raise ConfigurationError(
            f"the interpreter for Python in scorecards cannot start: {error}. Reinstall pydantic-monty, or set "
            "MONTY_BIN to its program"
        ) from error
    return pool
