"""Runs one function as Lambda does: a pool of execution environments, warm ones first."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import uuid
from types import TracebackType
from typing import Self

from plexus_scoring.local.environment import ExecutionEnvironment, InitFailedError
from plexus_scoring.local.function import (
    MAX_ASYNC_PAYLOAD_BYTES,
    MAX_SYNC_PAYLOAD_BYTES,
    Invocation,
    InvocationRefused,
    InvokeResult,
    LocalFunction,
)
from plexus_scoring.local.log_tail import LogSink
from plexus_scoring.local.runtime_api import Answer

_logger = logging.getLogger(__name__)


class LambdaRuntime:
    """Invokes a function; use as ``async with``, in one event loop.

    Args:
        function: The function.
        log_sink: Gets everything that the function's processes write, as it comes.
    """

    def __init__(self, function: LocalFunction, log_sink: LogSink | None = None) -> None:
        self.function = function
        self._sink = log_sink
        self._idle: list[ExecutionEnvironment] = []
        self._slots = asyncio.Semaphore(function.max_concurrency)
        self._admitted = 0
        self._background: set[asyncio.Task[InvokeResult]] = set()
        self.cold_starts = 0

    async def __aenter__(self) -> Self:
        """Nothing starts before the first invocation, as on Lambda."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop queued events and stop every environment."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(environment.stop() for environment in idle))

    async def invoke(
        self,
        payload: bytes,
        *,
        client_context: str | None = None,
        trace_id: str | None = None,
        request_id: str | None = None,
    ) -> InvokeResult:
        """Run the function once and return its answer (RequestResponse).

        Raises:
            InvocationRefused: payload too large or not JSON, or too many invocations are waiting.
        """
        invocation = _invocation(payload, client_context, trace_id, request_id)
        self._admit()
        return await self._run(invocation)

    def invoke_later(
        self,
        payload: bytes,
        *,
        client_context: str | None = None,
        trace_id: str | None = None,
        request_id: str | None = None,
    ) -> str:
        """Queue an event (Event) and return its request id. A failed event is not tried again.

        Raises:
            InvocationRefused: as `invoke`; the payload limit is 1 MB.
        """
        _check_size(payload, MAX_ASYNC_PAYLOAD_BYTES)
        invocation = _invocation(payload, client_context, trace_id, request_id)
        self._admit()
        task = asyncio.create_task(self._run(invocation))
        self._background.add(task)
        task.add_done_callback(self._finished)
        return invocation.request_id

    def _finished(self, task: asyncio.Task[InvokeResult]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("an event for %s was lost: %s", self.function.name, error)

    def _admit(self) -> None:
        bound = self.function.max_concurrency + self.function.max_waiting
        if self._admitted >= bound:
            raise InvocationRefused(
                f"Rate Exceeded: {self.function.name} has {bound} invocations running or waiting",
                status=429,
                error_type="TooManyRequestsException",
            )
        self._admitted += 1

    async def _run(self, invocation: Invocation) -> InvokeResult:
        try:
            async with self._slots:
                environment = await self._warm() or ExecutionEnvironment(self.function, self._sink)
                try:
                    result = await self._run_in(environment, invocation)
                except BaseException:
                    await environment.stop()
                    raise
                if environment.usable:
                    self._idle.append(environment)
                else:
                    await environment.stop()
                return result
        finally:
            self._admitted -= 1

    async def _run_in(
        self, environment: ExecutionEnvironment, invocation: Invocation
    ) -> InvokeResult:
        if not environment.started:
            self.cold_starts += 1
            try:
                await environment.start(invocation.request_id)
            except InitFailedError as error:
                return environment.result(invocation.request_id, Answer(error.payload, error=True))
        return await environment.invoke(invocation)

    async def _warm(self) -> ExecutionEnvironment | None:
        """Return the environment used last that is still alive."""
        while self._idle:
            environment = self._idle.pop()
            if environment.usable:
                return environment
            await environment.stop()
        return None


def _check_size(payload: bytes, limit: int) -> None:
    if len(payload) > limit:
        raise InvocationRefused(
            f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
            status=413,
            error_type="RequestTooLargeException",
        )


def _invocation(
    payload: bytes, client_context: str | None, trace_id: str | None, request_id: str | None
) -> Invocation:
    _check_size(payload, MAX_SYNC_PAYLOAD_BYTES)
    payload = payload or b"{}"
    try:
        json.loads(payload)
    except RecursionError:
        pass  # it may be JSON; the runtime client is the judge of its depth
    except ValueError as error:
        raise InvocationRefused(
            f"Could not parse request body into json: {error}",
            status=400,
            error_type="InvalidRequestContentException",
        ) from error
    return Invocation(
        request_id=request_id or str(uuid.uuid4()),
        payload=payload,
        trace_id=trace_id or f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Sampled=0",
        client_context=client_context,
    )
