"""What the functions share: one event loop and one set of clients for the life of a container."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from plexus_scoring import bootstrap
from plexus_scoring.settings import Settings
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.emf import EmfMetrics
from plexus_scoring.telemetry.logs import configure_logging
from plexus_scoring.telemetry.metrics import NoMetrics
from plexus_scoring.transports.breaker import Breaker

T = TypeVar("T")
log = logging.getLogger(__name__)


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        ...


class Container:
    """A function container: settings read, parts put together, the loop kept.

    Clients belong to the loop that they first ran on, so a loop for each invocation would break warm ones.
    """

    def __init__(self, *required: str, scores: bool = False) -> None:
        """Set up, in Lambda's init phase.

        Args:
            required: Fields of `Settings` that this function cannot do without.
            scores: Whether the function asks models.

        Raises:
            ConfigurationError: names every variable that is missing or malformed.
        """
        environ = bootstrap.environment()
        self.settings = Settings.from_environment(environ)
        configure_logging(self.settings.log_level)
        self.settings.require(*required)
        if scores:
            bootstrap.check_models(self.settings, environ)
        self.metrics = EmfMetrics(
            namespace=self.settings.metrics_namespace, environment=self.settings.environment
        )
        self.breaker = Breaker(
            failures=self.settings.breaker_failures,
            seconds=self.settings.breaker_seconds,
            metrics=NoMetrics(),  # its log line says it; a metric of each container's state says little
        )
        self.application = bootstrap.build(
            self.settings, environ=environ, metrics=self.metrics, observe=self.breaker.watch
        )
        self._runner = asyncio.Runner()
        self.metrics.count(names.COLD_STARTS)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one invocation's work to its end, and write its metrics however it ends."""
        try:
            return self._runner.run(work)
        finally:
            self.metrics.flush()


def remaining_seconds(context: LambdaContext) -> float:
    """Return the seconds that are left; 0 means none, not no limit."""
    return max(0.0, context.get_remaining_time_in_millis() / 1000)
