"""Jobs and results as commands show them: times in UTC, no item text, no lease tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from plexus_scoring.model.job import ScoringJob
from plexus_scoring.model.result import ScoreResult

_TIMES = (
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "not_before",
    "lease_expires_at",
)


def job_view(job: ScoringJob) -> dict[str, Any]:
    """Return a job as plain values. Its own item's text, often personal, shows by its length only."""
    view: dict[str, Any] = msgspec.to_builtins(job)
    view.pop("lease_token", None)
    if job.item is not None:
        text = view["item"].pop("text")
        view["item"]["characters"] = None if text is None else len(text)
    for name in _TIMES:
        view[name] = utc(view[name])
    return view


def result_view(result: ScoreResult) -> dict[str, Any]:
    """Return a result as plain values."""
    view: dict[str, Any] = msgspec.to_builtins(result)
    view["created_at"] = utc(result.created_at)
    return view


def utc(seconds: float | None) -> str | None:
    """Return a point in time as ISO 8601; None for none, which is also what 0 stands for."""
    if not seconds:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return str(seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
