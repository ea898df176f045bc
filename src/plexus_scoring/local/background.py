"""The local Lambda runtime in a thread of its own, for callers that have no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from plexus_scoring.local.function import InvokeResult, LocalFunction
from plexus_scoring.local.invoke_api import InvokeApi
from plexus_scoring.local.lambda_runtime import LambdaRuntime


class LocalLambda:
    """Some functions, each with its runtime, behind one Invoke API; use as ``with``.

    Args:
        functions: The functions.
        log_folder: Each function's output is appended to ``NAME.log`` here.
    """

    def __init__(self, functions: Iterable[LocalFunction], log_folder: Path) -> None:
        self._functions = tuple(functions)
        self._log_folder = log_folder
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._runtimes: dict[str, LambdaRuntime] = {}
        self._api: InvokeApi | None = None

    def __enter__(self) -> Self:
        """Start the thread and listen."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready)), name="local-lambda", daemon=True
        )
        self._thread.start()
        ready.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every process and the thread."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    @property
    def endpoint_url(self) -> str:
        """Address for boto3's Lambda client."""
        return self._listening().endpoint_url

    def invocations_url(self, name: str) -> str:
        """Return the address that runs a function."""
        return self._listening().invocations_url(name)

    def invoke(self, name: str, payload: bytes) -> InvokeResult:
        """Run a function once and return its answer.

        Raises:
            InvocationRefused: the payload is too large or not JSON, or too many are waiting.
        """
        if self._loop is None:
            raise RuntimeError("the local runtime is not started")
        running = asyncio.run_coroutine_threadsafe(self._runtimes[name].invoke(payload), self._loop)
        return running.result()

    def cold_starts(self, name: str) -> int:
        """Return how many processes a function has needed."""
        return self._runtimes[name].cold_starts

    def _listening(self) -> InvokeApi:
        if self._api is None:
            raise RuntimeError("the local runtime is not started")
        return self._api

    async def _main(self, ready: Future[None]) -> None:
        async with AsyncExitStack() as stack:
            try:
                self._loop = asyncio.get_running_loop()
                self._stop = asyncio.Event()
                self._log_folder.mkdir(parents=True, exist_ok=True)
                for function in self._functions:
                    path = self._log_folder / f"{function.name}.log"
                    log = stack.enter_context(path.open("ab", buffering=0))
                    runtime = LambdaRuntime(function, log.write)
                    self._runtimes[function.name] = await stack.enter_async_context(runtime)
                api = InvokeApi(self._runtimes.values())
                self._api = await stack.enter_async_context(api)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
                ready.set_exception(error)
                return
            ready.set_result(None)
            await self._stop.wait()
