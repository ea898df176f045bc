"""The stages. This file alone says in what staging and production differ."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infrastructure.config.errors import ConfigError
from infrastructure.config.model import (
    AlarmConfig,
    EventSourceConfig,
    FunctionConfig,
    StageConfig,
)

EXAMPLE_EMAIL = "on-call@example.com"
"""Whom alarms call. Put your own address into each stage: with AWS credentials the synthesis refuses this one."""

STAGES: Mapping[str, StageConfig] = MappingProxyType(
    {
        "staging": StageConfig(
            name="staging",
            branch="staging",
            events=EventSourceConfig(max_concurrency=5),
            retain_data=False,
            log_retention_days=14,
            retention_days=30,
            attachments_expire_days=30,
            alarms=AlarmConfig(email=EXAMPLE_EMAIL, cost_usd_per_hour=5),
        ),
        "production": StageConfig(
            name="production",
            branch="main",
            scoring=FunctionConfig(memory_mb=2048, timeout_seconds=300),
            events=EventSourceConfig(max_concurrency=50),
            deployment="canary_10_percent_5_minutes",
            retain_data=True,
            log_retention_days=90,
            retention_days=400,
            attachments_expire_days=400,
            alarms=AlarmConfig(email=EXAMPLE_EMAIL, cost_usd_per_hour=50),
            approval=True,
        ),
    }
)


def stage(name: str) -> StageConfig:
    """Return a stage's checked settings.

    Raises:
        ConfigError: no such stage, or a value that AWS would refuse.
    """
    config = STAGES.get(name)
    if config is None:
        raise ConfigError(f"unknown stage {name!r}: stages are {', '.join(sorted(STAGES))}")
    config.check()
    return config
