"""A circuit breaker: while a store or a model provider is down, no jobs are taken.

Without it a worker would go through its queue as fast as it can fail, give every job back and, where a broker counts
deliveries, use up the messages' chances. It watches calls from outside: adapters and the service know nothing of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from plexus_scoring.model.errors import (
    ConfigurationError,
    EngineUnavailable,
    ScoringError,
    StoreUnavailable,
)
from plexus_scoring.ports import Sleep
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LONGEST_SECONDS = 300.0
"""A provider that wants to be left alone for longer is asked again after this: other jobs may not need it."""

Failures = tuple[type[ScoringError], ...]

WATCHED: dict[str, tuple[str, Failures, frozenset[str]]] = {
    "jobs": ("store", (StoreUnavailable,), frozenset({"claim", "complete"})),
    # A score that cannot be kept is scored again, at no attempt's cost: its trace needs a circuit as its result does.
    "attachments": ("attachments", (StoreUnavailable,), frozenset({"put"})),
    "catalog": ("catalog", (StoreUnavailable,), frozenset({"item", "scorecard"})),
    "engine": ("engine", (EngineUnavailable, ConfigurationError), frozenset({"score"})),
}
"""Part of the service: its dependency's name, the errors that say that it is down, and the calls that tell."""


class Circuit:
    """One dependency's state: shut out after `failures` in a row, for `seconds`; then one failure suffices."""

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        seconds: float,
        changed: Callable[[str, str | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the dependency `name`.

        Args:
            name: For logs and metrics.
            failures: Failures in a row that shut it out.
            seconds: For how long.
            changed: Told the name and the problem, or None when it is over.
            clock: Monotonic seconds.
        """
        self.name = name
        self._limit = failures
        self._seconds = seconds
        self._changed = changed
        self._clock = clock
        self._failures = 0
        self._shut_until: float | None = None
        self._told: str | None = None

    @property
    def on_trial(self) -> bool:
        """Whether the time is over and no call has succeeded since: one failure shuts it out again."""
        return self._shut_until is not None and self.wait == 0

    @property
    def wait(self) -> float:
        """Seconds until work may be tried; 0: now."""
        if self._shut_until is None:
            return 0.0
        return max(0.0, self._shut_until - self._clock())

    def succeeded(self) -> None:
        """A call worked."""
        self._failures = 0
        if self.on_trial:
            self._shut_until = None
            log.info("%s works again", self.name)
            self._tell(None)

    def tick(self) -> None:
        """Say so when the time is over: from then on jobs are taken, and the next call decides."""
        if self.wait == 0:
            self._tell(None)

    def failed(self, error: ScoringError) -> None:
        """A call did not."""
        self._failures += 1
        if (self._shut_until is None and self._failures >= self._limit) or self.on_trial:
            pause = max(self._seconds, min(error.retry_after or 0.0, LONGEST_SECONDS))
            self._shut_until = self._clock() + pause
            log.warning(
                "%s is down, taking no jobs for %.0f s: %s", self.name, pause, error.message
            )
            self._tell(error.message)

    def _tell(self, problem: str | None) -> None:
        if problem != self._told:
            self._told = problem
            self._changed(self.name, problem)


class Breaker:
    """`transports.base.Gate` over the circuits of a process."""

    def __init__(
        self,
        *,
        failures: int,
        seconds: float,
        metrics: Metrics,
        changed: Callable[[str, str | None], None] = lambda _name, _problem: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Make a circuit for each dependency of `WATCHED`; `clock` and `sleep` are theirs."""
        self._metrics = metrics
        self._tell = changed
        self._sleep = sleep
        self.circuits = {
            part: Circuit(
                name, failures=failures, seconds=seconds, changed=self._on_change, clock=clock
            )
            for part, (name, _, _) in WATCHED.items()
        }
        for circuit in self.circuits.values():
            metrics.gauge(names.BREAKER_OPEN, 0, dependency=circuit.name)

    @property
    def is_open(self) -> bool:
        """Whether jobs may be taken: the gate's word; an electrician would call the circuit closed."""
        return self._wait == 0

    @property
    def on_trial(self) -> bool:
        """Whether a dependency was shut out and has not answered since: one job shall find out."""
        return any(circuit.on_trial for circuit in self.circuits.values())

    async def wait_open(self) -> None:
        """Wait until jobs may be taken."""
        while not self.is_open:
            await self._sleep(self._wait)

    def tick(self) -> None:
        """To be called about every second."""
        for circuit in self.circuits.values():
            circuit.tick()

    def watch(self, part: str, target: Any) -> Any:
        """Return what stands in for a part of the service, if its calls tell of a circuit."""
        if part not in WATCHED:
            return target
        _, failure, methods = WATCHED[part]
        return _Watched(target, self.circuits[part], failure, methods)

    @property
    def _wait(self) -> float:
        return max(circuit.wait for circuit in self.circuits.values())

    def _on_change(self, name: str, problem: str | None) -> None:
        self._metrics.gauge(names.BREAKER_OPEN, 0 if problem is None else 1, dependency=name)
        self._tell(name, problem)


class _Watched:
    """Stands in for an object and tells a circuit how some of its coroutine methods end."""

    def __init__(
        self,
        target: object,
        circuit: Circuit,
        failure: Failures,
        methods: frozenset[str],
    ) -> None:
        self._target = target
        self._circuit = circuit
        self._failure = failure
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name not in self._methods:
            return value
        circuit, failure = self._circuit, self._failure

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                answer = await value(*args, **kwargs)
            except failure as error:
                circuit.failed(error)
                raise
            except ScoringError:
                circuit.succeeded()  # it answered, if only to refuse
                raise
            circuit.succeeded()
            return answer

        self.__dict__[name] = call  # looked up once
        return call
