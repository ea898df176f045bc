"""One long-lived event loop in a thread of its own, for code that blocks and whose clients belong to their loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

_GRACE = 2.0


class LoopThread:
    """Runs coroutines elsewhere; replaces its thread if something never gives it back."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Coroutine[Any, Any, T], *, within: float) -> T:
        """Return what `work` returns within so many seconds; its context variables go with it.

        Raises TimeoutError, and what `work` raises. However it ends, `work` has ended, or its thread was given up.
        """
        loop = self._started()
        begun = False
        ended: Future[None] = Future()

        async def watched() -> T:
            nonlocal begun
            begun = True
            try:
                return await work
            finally:
                ended.set_result(None)

        future = asyncio.run_coroutine_threadsafe(watched(), loop)
        try:
            async with asyncio.timeout(within):
                return await asyncio.wrap_future(future)
        except (TimeoutError, asyncio.CancelledError):
            future.cancel()
            answers = await self._check(loop)
            if not begun:
                work.close()
            elif answers:
                # What it does on its way out (say, writing down what it spent) needs the loop and its connections.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await asyncio.wrap_future(ended)
            raise

    async def aclose(self) -> None:
        """Cancel what runs and end the thread. Safe to call twice."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancel_all(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join, _GRACE)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(loop,), name=self._name, daemon=True
            )
            self._thread.start()
        return self._loop

    async def _check(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Give the thread up if it does not answer: a regular expression that never ends cannot be cancelled."""
        ping = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
        try:
            async with asyncio.timeout(_GRACE):
                await asyncio.wrap_future(ping)
        except TimeoutError:
            if self._loop is loop:
                log.warning("a score never gave its thread back: going on with a new one")
                self._loop = self._thread = None
                loop.call_soon_threadsafe(loop.stop)
            return False
        return True


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
