"""Metrics as Prometheus reads them, from a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from plexus_scoring.telemetry import names

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Bounds of the histograms: from a job without a model to one at its deadline."""

HELP = {
    names.JOBS: "Handled requests by outcome.",
    names.JOB_SECONDS: "Seconds from claim to response.",
    names.ENGINE_SECONDS: "Seconds that the engine took.",
    names.QUEUE_AGE_SECONDS: "Seconds that a message had waited when it was received.",
    names.QUEUE_AGE_UNKNOWN: "Messages that neither producer nor broker gave a time.",
    names.RETRIES: "Attempts released for a retry, by the error's code.",
    names.LEASES_LOST: "Jobs dropped because another claimer had taken them.",
    names.TOKENS: "LLM tokens by kind.",
    names.COST_USD: "LLM cost in USD.",
    names.IN_FLIGHT: "Jobs being worked on.",
    names.QUEUE_MESSAGES: "Messages on the request queue by state.",
    names.BREAKER_OPEN: "1 while no jobs are taken because a dependency is down.",
    names.SWEPT: "Stranded jobs put back on the queue.",
}


class PrometheusMetrics:
    """`Metrics` that `render` shows. A metric exists from its first use."""

    def __init__(self, *, environment: str = "local") -> None:
        """Start with no metric but the deployment's name."""
        # A second series for each counter, that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks the annotation
        self._registry = CollectorRegistry()
        self._families: dict[str, Any] = {}
        self._children: dict[tuple[str, ...], Any] = {}
        info = Gauge(
            "plexus_scoring_info",
            "The deployment this process belongs to.",
            ["environment"],
            registry=self._registry,
        )
        info.labels(environment).set(1)
        # Known from the start, so that a rate over them has a zero to begin with.
        self.count(names.LEASES_LOST, 0)
        self.gauge(names.IN_FLIGHT, 0)

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(name, labels, _counter).inc(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record one value of a distribution."""
        self._child(name, labels, _histogram).observe(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a level."""
        self._child(name, labels, _gauge).set(value)

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    def _child(self, name: str, labels: dict[str, str], make: Callable[..., Any]) -> Any:
        key = (name, *labels.values())
        child = self._children.get(key)
        if child is None:
            family = self._families.get(name)
            if family is None:
                family = make(name, HELP.get(name, name), list(labels), self._registry)
                self._families[name] = family
            child = self._children[key] = family.labels(**labels) if labels else family
        return child


def _counter(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Counter:
    return Counter(name, text, labels, registry=registry)


def _gauge(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, labels, registry=registry)


def _histogram(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, text, labels, registry=registry, buckets=SECONDS)
