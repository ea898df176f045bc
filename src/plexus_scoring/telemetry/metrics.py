"""Metrics behind one small protocol. Sinks: `telemetry.emf` (Lambda), Prometheus (workers), memory (tests)."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Metrics(Protocol):
    """Where measurements go. Names are those of `telemetry.names`."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record one value of a distribution."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a level."""
        ...


class NoMetrics:
    """Drops everything."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Do nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""


class MemoryMetrics:
    """Keeps what it is told, for tests and for the demo's report."""

    def __init__(self) -> None:
        """Start empty."""
        self.counters: Counter[tuple[str, ...]] = Counter()
        self.values: dict[str, list[float]] = {}
        self.levels: dict[str, float] = {}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to the counter of this name and these labels' values."""
        self.counters[name, *labels.values()] += value  # type: ignore[assignment]  # Counter is typed for int only

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Append the value."""
        del labels
        self.values.setdefault(name, []).append(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Keep the last level."""
        del labels
        self.levels[name] = value
