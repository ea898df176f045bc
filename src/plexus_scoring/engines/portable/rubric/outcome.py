"""What judging a criterion gives."""

from __future__ import annotations

from typing import Any

import msgspec


class CriterionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion's score, 0..1, and why.

    Attributes:
        feedback: One line for the author of the submission.
        details: What was measured, for the trace.
        variance: Of repeated judgements, on the scale 0..1; None where there was one.
    """

    score: float
    feedback: str
    details: dict[str, Any] = msgspec.field(default_factory=dict)
    variance: float | None = None


def on_scale(value: float, good: float, bad: float) -> float:
    """Return 1 at `good`, 0 at `bad`, and what is between them between; either may be the greater."""
    return min(1.0, max(0.0, (value - bad) / (good - bad)))
