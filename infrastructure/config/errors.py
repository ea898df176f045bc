"""The one error of the deployment's configuration."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration that cannot be deployed. Its text is one line: what, where, what to do."""


def require_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Check that a value is within AWS's limits.

    Raises:
        ConfigError: it is not.
    """
    if not low <= value <= high:
        suffix = f" {unit}" if unit else ""
        raise ConfigError(f"{name} is {value}: must be {low} to {high}{suffix}")
