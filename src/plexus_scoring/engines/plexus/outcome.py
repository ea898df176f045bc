"""The package's results in our words, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import (
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    ScoreDisabled,
    ScoreFailed,
    ScoringError,
    shorten,
)
from plexus_scoring.model.result import ScoreOutcome

# Classes of exceptions of the providers' clients that another attempt may not meet, as Plexus names them in results.
_PASSING = (
    "RateLimitError", "APITimeoutError", "APIConnectionError", "InternalServerError", "ThrottlingException",
    "ServiceUnavailable", "ModelTimeoutException", "ConnectError", "ConnectionError", "ReadTimeout",
    "ReadTimeoutError", "EndpointConnectionError", "OverloadedError",
)  # fmt: skip
_RETRIES_USED_UP = "maximum retries reached"


def outcome_of(results: Mapping[str, Any], target: str, name: str) -> ScoreOutcome:
    """Return the target's outcome.

    Args:
        results: The package's results by score id.
        target: Id of the score that was asked for.
        name: Its name.

    Raises:
        DependencyUnmet, ScoreDisabled, ScoreFailed, EngineUnavailable, DeadlineExceeded: what the result says.
    """
    result = _one(results.get(target))
    if result is None:
        if any(_value(_one(other)) == "SKIPPED" for other in results.values()):
            raise DependencyUnmet(f"the score {name!r} was not run: a score before it was skipped")
        raise ScoreFailed(f"Plexus gave no result for the score {name!r}")
    value = _value(result)
    if value in {"SKIPPED", "DISABLED", "PAUSED", "ERROR"}:
        raise _error(result, value, name)
    metadata = result.metadata if isinstance(result.metadata, dict) else {}
    explanation = metadata.get("explanation")
    if explanation is None:
        explanation = getattr(result, "explanation", None)
    return ScoreOutcome(
        value=value,
        explanation=None if explanation is None else str(explanation),
        confidence=_confidence(getattr(result, "confidence", None)),
        cost=cost_of(metadata.get("cost")),
        dependencies_cost=Cost.total(
            cost_of((getattr(_one(other), "metadata", None) or {}).get("cost"))
            for score, other in results.items()
            if score != target
        ),
        trace=_plain(metadata.get("trace")) or None,
        undetermined=value.lower() == "unknown" and _RETRIES_USED_UP in str(explanation).lower(),
        metadata={"engine": "plexus"},
    )


def _error(result: Any, value: str, name: str) -> ScoringError:
    said = (
        getattr(result, "error", None) or getattr(result, "explanation", None) or "no reason given"
    )
    text = shorten(f"the score {name!r}: {said}", 1_000)
    if value == "SKIPPED":
        return DependencyUnmet(text)
    if value == "DISABLED":
        return ScoreDisabled(text)
    if value == "PAUSED":
        return ScoreFailed(f"the score {name!r} waits for a batch, which this service does not run")
    metadata = getattr(result, "metadata", None) or {}
    kind = str(metadata.get("exception_type") or str(said).partition(":")[0])
    if kind in _PASSING:
        return EngineUnavailable(text)
    if "timed out after" in str(said):
        return DeadlineExceeded(text)
    return ScoreFailed(text)


def _one(entry: Any) -> Any:
    return (entry[0] if entry else None) if isinstance(entry, list) else entry


def _value(result: Any) -> str:
    value = getattr(result, "value", result)
    return "" if value is None else str(value)


def _confidence(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def cost_of(value: Any) -> Cost:
    """Return a cost as the package tells it; none if it tells none."""
    if not isinstance(value, dict):
        return Cost()
    return msgspec.convert(_plain(_without_nothing(value)), Cost, strict=False)


def _without_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the package does not know (a provider, a model); `usd` may be nothing."""
    clean = {key: part for key, part in value.items() if part is not None}
    parts = clean.get("components")
    if isinstance(parts, list):
        clean["components"] = [
            {key: part for key, part in entry.items() if part is not None} for entry in parts
        ]
    return clean


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: decimals as numbers, anything else unknown as text."""
    if value is None:
        return None
    return json.loads(json.dumps(value, default=_as_json))


def _as_json(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
