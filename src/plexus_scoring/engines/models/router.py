"""Picks the adapter of a request's provider, bounds how much it is asked, and retries what may pass."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import Adapter, ChatReply, ChatRequest
from plexus_scoring.engines.models.limiter import ProviderLimiter, Signal
from plexus_scoring.engines.models.providers import PROVIDERS, Provider, provider_of
from plexus_scoring.engines.models.reasoning import without_reasoning
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.engines.models.turns import waiting
from plexus_scoring.model.errors import (
    AccountRefused,
    DeadlineExceeded,
    EngineUnavailable,
    ProviderBusy,
)
from plexus_scoring.ports import Sleep

CHARACTERS_PER_TOKEN = 4  # what English text comes to; an estimate that the reply's usage corrects


@dataclass(frozen=True)
class _Route:
    adapter: Adapter
    limiter: ProviderLimiter


class ModelRouter:
    """The `ChatModel` that engines are given.

    Connections and turns belong to an event loop, so each loop has its own. A process that runs one event loop for
    its life (worker, Lambda handler) keeps its connections; one that calls `asyncio.run` per job pays for new ones.

    Args:
        settings: Default: from the environment.
        providers: What each provider is, by short name.
        sleep: Waits between attempts.
        jitter: Number in 0..1, another for each wait.
    """

    def __init__(
        self,
        settings: ModelSettings | None = None,
        *,
        providers: Mapping[str, Provider] = PROVIDERS,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings or ModelSettings.from_environment()
        self._providers = providers
        self._sleep = sleep
        self._jitter = jitter
        self._routes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Route]] = (
            weakref.WeakKeyDictionary()
        )

    async def chat(self, request: ChatRequest, *, deadline: float | None = None) -> ChatReply:
        """Return the reply; see `ChatModel.chat`."""
        route = self._route(request)
        attempt = 1
        while True:
            try:
                return await self._attempt(route, request, deadline)
            except AccountRefused:
                raise
            except EngineUnavailable as error:
                throttled = isinstance(error, ProviderBusy)
                wait = self._wait(attempt, error.retry_after)
                too_late = deadline is not None and time.time() + wait >= deadline
                if (
                    attempt >= self._settings.attempts
                    or wait > self._settings.retry_max
                    or too_late
                ):
                    raise
            attempt += 1
            with waiting() if throttled else contextlib.nullcontext():
                await self._sleep(wait)

    async def aclose(self) -> None:
        """Close the running event loop's connections."""
        routes = self._routes.pop(asyncio.get_running_loop(), {})
        for route in routes.values():
            await route.adapter.aclose()

    def _route(self, request: ChatRequest) -> _Route:
        loop = asyncio.get_running_loop()
        routes = self._routes.get(loop)
        if routes is None:
            routes = self._routes[loop] = {}
        name = provider_of(request.provider, self._settings)
        route = routes.get(name)
        if route is None:
            provider = self._providers[name.partition(":")[0]]
            limits = self._settings.limits(name.partition(":")[0], concurrency=provider.concurrency)
            adapter = provider.make(self._settings, name, limits)
            route = routes[name] = _Route(adapter, ProviderLimiter(limits))
        return route

    async def _attempt(
        self, route: _Route, request: ChatRequest, deadline: float | None
    ) -> ChatReply:
        """Ask once, within the timeout and the deadline."""
        pause = route.limiter.pause
        if pause > self._settings.retry_max:  # the job need not hold a worker's slot for so long
            raise _no_turn(request, f"the provider wants no call for {pause:.0f} s", pause)
        try:
            with waiting():
                async with asyncio.timeout(_left(deadline)):
                    permit = await route.limiter.acquire(tokens=_estimate(request))
        except TimeoutError:
            raise _no_turn(request, "no turn came before the deadline", None) from None
        left = _left(deadline)
        seconds = self._settings.timeout if left is None else min(left, self._settings.timeout)
        if seconds <= 0:
            route.limiter.release(permit, Signal.NEUTRAL, tokens=0)
            raise _too_late(request, "before the model was asked")
        signal, used, wanted = Signal.NEUTRAL, None, None
        try:
            # The client's own timeouts are per read: a server that drips is only stopped here.
            async with asyncio.timeout(seconds):
                reply = await route.adapter.complete(request, seconds=seconds)
        except (TimeoutError, failures.TimedOut) as error:
            signal = Signal.CONGESTED
            if (
                left is not None
                and left <= self._settings.timeout
                and (_left(deadline) or 0.0) <= 0
            ):
                raise _too_late(request, "while the model worked") from error
            if isinstance(error, failures.TimedOut):
                raise
            raise failures.timed_out(request, seconds) from error
        except failures.Throttled as error:
            signal, wanted = Signal.CONGESTED, error.retry_after
            raise
        else:
            signal = Signal.ANSWERED
            used = reply.prompt_tokens + reply.completion_tokens
            return without_reasoning(reply)
        finally:
            route.limiter.release(permit, signal, tokens=used, retry_after=wanted)

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds before the next attempt: what the provider asks, and full jitter on top."""
        bound = min(self._settings.retry_max, self._settings.retry_base * 2.0 ** (attempt - 1))
        return (retry_after or 0.0) + bound * self._jitter()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.time()


def _estimate(request: ChatRequest) -> int:
    sent = sum(len(message.content) for message in request.messages)
    return sent // CHARACTERS_PER_TOKEN + 1


def _no_turn(request: ChatRequest, why: str, wait: float | None) -> ProviderBusy:
    return ProviderBusy(f"{request.provider} model {request.model}: {why}", retry_after=wait)


def _too_late(request: ChatRequest, when: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{request.provider} model {request.model}: the deadline came {when}")
