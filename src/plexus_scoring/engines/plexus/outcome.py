"""Plexus's results in our words, field by field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from plexus_scoring.engines.models.provider_errors import ProviderError, kind_of
from plexus_scoring.model import typed
from plexus_scoring.model.cost import Cost, CostComponent
from plexus_scoring.model.errors import (
    AccountRefused,
    DeadlineExceeded,
    DependencyUnmet,
    ProviderDown,
    ScoreDisabled,
    ScoreFailed,
    ScoringError,
    shorten,
)
from plexus_scoring.model.result import ScoreOutcome

# Classes of exceptions of the providers' clients that another attempt may not meet, as Plexus names them in results.
PASSING = (
    "RateLimitError", "APITimeoutError", "APIConnectionError", "InternalServerError", "ThrottlingException",
    "ServiceUnavailable", "ModelTimeoutException", "ConnectError", "ConnectionError", "ReadTimeout",
    "ReadTimeoutError", "EndpointConnectionError", "OverloadedError", "ServiceUnavailableError", "Timeout",
)  # fmt: skip
_ACCOUNT = frozenset({"AuthenticationError", "PermissionDeniedError", "NotFoundError"})
# How litellm, which tactus asks models through, names them in the middle of a message.
_LITELLM = re.compile(r"\blitellm\.(?:exceptions\.)?(\w+)")
_RETRIES_USED_UP = "maximum retries reached"


def outcome_of(results: Mapping[str, Any], target: str, name: str) -> ScoreOutcome:
    """Return the target's outcome.

    Args:
        results: What the host made of Plexus's results, by score id.
        target: Id of the score that was asked for.
        name: Its name.

    Raises:
        DependencyUnmet, ScoreDisabled, ScoreFailed, EngineUnavailable, DeadlineExceeded: what the result says.
    """
    result = results.get(target)
    if result is None:
        if any(_value(other) == "SKIPPED" for other in results.values()):
            raise DependencyUnmet(f"the score {name!r} was not run: a score before it was skipped")
        raise ScoreFailed(f"Plexus gave no result for the score {name!r}")
    value = _value(result)
    if value in {"SKIPPED", "DISABLED", "PAUSED", "ERROR"}:
        raise _error(result, value, name)
    explanation = result.get("explanation")
    gave_up = value.lower() == "unknown" and _RETRIES_USED_UP in str(explanation).lower()
    return ScoreOutcome(
        value=value,
        explanation=None if explanation is None else str(explanation),
        confidence=_confidence(result.get("confidence")),
        cost=_cost(result),
        dependencies_cost=Cost.total(
            _cost(other) for score, other in results.items() if score != target
        ),
        trace=result.get("trace") or None,
        undetermined=gave_up,
        undetermined_reason="the model gave no usable answer" if gave_up else None,
        metadata={"engine": "plexus"},
    )


def _error(result: Mapping[str, Any], value: str, name: str) -> ScoringError:
    said = result.get("error") or result.get("explanation") or "no reason given"
    text = shorten(f"the score {name!r}: {said}", 1_000)
    if value == "SKIPPED":
        return DependencyUnmet(text)
    if value == "DISABLED":
        return ScoreDisabled(text)
    if value == "PAUSED":
        return ScoreFailed(f"the score {name!r} waits for a batch, which this service does not run")
    kind = str(result.get("exception_type") or str(said).partition(":")[0])
    return _provider_error(kind, str(said), text) or ScoreFailed(text)


def _provider_error(kind: str, said: str, text: str) -> ScoringError | None:
    """Return the error of a failure that is the provider's; None: it is the score's."""
    refused = kind_of(ProviderError(message=said), None) == "account"
    if kind in _ACCOUNT or (kind in PASSING and refused):
        return AccountRefused(text)
    if kind in PASSING or is_passing(said):
        return ProviderDown(text)
    if "timed out after" in said:
        return DeadlineExceeded(text)
    return None


def is_passing(said: str) -> bool:
    """Whether an error of a TactusScore is a provider's that another attempt may not meet."""
    return any(name in PASSING for name in _LITELLM.findall(said))


def _value(result: Mapping[str, Any] | None) -> str:
    value = None if result is None else result.get("value")
    return "" if value is None else str(value)


def _confidence(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cost(result: Mapping[str, Any] | None) -> Cost:
    """Return a cost as Plexus tells it; none if it tells none."""
    if result is None:
        return Cost()
    if result.get("calls"):
        return cost_of_calls(result["calls"])
    if not isinstance(result.get("cost"), dict):
        return Cost()
    return typed.convert(_without_nothing(result["cost"]), Cost, strict=False)


def _without_nothing(value: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what Plexus does not know (a provider, a model); `usd` may be nothing."""
    clean = {key: part for key, part in value.items() if part is not None}
    parts = clean.get("components")
    if isinstance(parts, list):
        clean["components"] = [
            {key: part for key, part in entry.items() if part is not None} for entry in parts
        ]
    return clean


def cost_of_calls(calls: Sequence[Mapping[str, Any]]) -> Cost:
    """Return what the model calls of a TactusScore cost, as tactus counted them."""
    components = []
    for call in calls:
        model = str(call.get("model") or "")
        # Procedures name a model as litellm does: openai/gpt-4o-mini.
        provider, _, short = model.partition("/") if "/" in model else ("", "", model)
        agent = call.get("agent")
        components.append(
            CostComponent(
                provider=str(call.get("provider") or provider or "tactus"),
                model=short,
                prompt_tokens=int(call.get("prompt_tokens") or 0),
                completion_tokens=int(call.get("completion_tokens") or 0),
                cached_tokens=int(call.get("cached_tokens") or 0),
                usd=float(call.get("usd") or 0.0),
                metadata={"node_name": str(agent)} if agent else {},
            )
        )
    prompt_tokens = sum(part.prompt_tokens for part in components)
    completion_tokens = sum(part.completion_tokens for part in components)
    return Cost(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        llm_calls=len(components),
        cached_tokens=sum(part.cached_tokens for part in components),
        input_cost=sum(float(call.get("input_cost") or 0.0) for call in calls),
        output_cost=sum(float(call.get("output_cost") or 0.0) for call in calls),
        total_cost=sum(part.usd or 0.0 for part in components),
        components=tuple(components),
    )
