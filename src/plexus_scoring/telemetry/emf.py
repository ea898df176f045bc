"""Metrics as CloudWatch's embedded metric format, written by Powertools at the end of an invocation."""

from __future__ import annotations

from collections import defaultdict

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit


class EmfMetrics:
    """Gathers measurements, and writes one blob for each set of labels when flushed.

    Counters are summed within the flush, so that an invocation with 10,000 records writes a handful of lines.
    """

    def __init__(self, *, namespace: str, environment: str) -> None:
        """Write to `namespace`, with the dimension ``environment`` on everything."""
        self._namespace = namespace
        self._environment = environment
        self._counters: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self._values: dict[tuple[tuple[str, str], ...], list[tuple[str, float]]] = defaultdict(list)

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counters[tuple(labels.items())][name] += value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record one value."""
        self._values[tuple(labels.items())].append((name, value))

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Record a level."""
        self._values[tuple(labels.items())].append((name, value))

    def flush(self) -> None:
        """Write what was gathered to stdout, where CloudWatch finds it."""
        counters, self._counters = self._counters, defaultdict(lambda: defaultdict(float))
        values, self._values = self._values, defaultdict(list)
        for labels in counters.keys() | values.keys():
            metrics = EphemeralMetrics(namespace=self._namespace)
            metrics.add_dimension("environment", self._environment)
            for label, text in labels:
                metrics.add_dimension(label, text)
            for name, total in counters.get(labels, {}).items():
                metrics.add_metric(name, MetricUnit.Count, total)
            for name, value in values.get(labels, []):
                unit = MetricUnit.Seconds if name.endswith("_seconds") else MetricUnit.NoUnit
                metrics.add_metric(name, unit, value)
            metrics.flush_metrics()
