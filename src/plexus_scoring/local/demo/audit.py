"""The proof: what became of each piece of work, by the table, the bucket, the queues and the function's log.

It does not ask the service. Rows are read from the table itself, so that a second result of a job would show.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from plexus_scoring.local.demo.plan import Entry, Mishap
from plexus_scoring.local.demo.traffic import Outbox
from plexus_scoring.model.job import JobStatus, ScoringJob
from plexus_scoring.model.result import ScoreResult


@dataclass(frozen=True)
class Stored:
    """What the stores hold at the end.

    Attributes:
        jobs: Jobs by id.
        results: Every result row, by the id of its job.
        attachments: Keys of the objects in the bucket.
        scored: How often the function's log says that a job was scored.
        left_on_queue: Messages still on the request queue.
    """

    jobs: dict[str, ScoringJob]
    results: dict[str, list[ScoreResult]]
    attachments: frozenset[str]
    scored: Counter[str]
    left_on_queue: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Every piece of work is submitted once and then completed, failed, dead-lettered or lost.

    Attributes:
        submitted: Pieces of work: jobs, and messages that name none. A second delivery is none.
        completed: Jobs with a result and a response.
        failed: Jobs that ended without a result and are no error, such as an unmet dependency.
        dead_lettered: Messages in the dead-letter queue with a reason.
        lost: What is none of these, or has no response.
        duplicated: What has two results, was scored twice, or has responses that differ.
        retries: Attempts after a first one.
    """

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    dead_lettered: int = 0
    lost: int = 0
    duplicated: int = 0
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One piece of work and its end. Times are seconds."""

    id: str
    mishap: Mishap
    scorecard: str = ""
    score: str = ""
    item: str = ""
    fate: str
    value: str | None = None
    explanation: str | None = None
    reason: str | None = None
    attempts: int = 0
    responses: int = 0
    cost: float = 0.0
    tokens: int = 0
    started_at: float | None = None
    completed_at: float | None = None
    problems: tuple[str, ...] = ()
    duplicated: bool = False

    @property
    def seconds(self) -> float | None:
        """Time from the last claim to the end."""
        if self.started_at is None or self.completed_at is None:
            return None
        return max(0.0, self.completed_at - self.started_at)


@dataclass(frozen=True)
class Audit:
    """What the demo shows and is judged by."""

    counts: Counts
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, nothing was duplicated, and every mishap ended as it should."""
        return not (self.counts.lost or self.counts.duplicated or self.problems)


def scored_lines(log_file: Path) -> Counter[str]:
    """Return how often the function's log says of each job that the engine gave a value."""
    counts: Counter[str] = Counter()
    for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"scored"' not in line:
            continue
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if entry.get("message") == "scored":
            counts[str(entry.get("scoring_job_id"))] += 1
    return counts


def audit(plan: Iterable[Entry], stored: Stored, outbox: Outbox) -> Audit:
    """Judge every piece of work."""
    rows = tuple(_judge(entry, stored, outbox) for entry in plan)
    fates = Counter(row.fate for row in rows)
    problems = [f"{row.id}: {problem}" for row in rows for problem in row.problems]
    if stored.left_on_queue:
        problems.append(f"{stored.left_on_queue} messages are still on the request queue")
    strangers = set(stored.results) - {row.id for row in rows}
    problems += [f"there is a result of a job nobody submitted: {one}" for one in strangers]
    counts = Counts(
        submitted=len(rows),
        completed=fates["completed"],
        failed=fates["failed"],
        dead_lettered=fates["dead_lettered"],
        lost=fates["lost"],
        duplicated=sum(row.duplicated for row in rows),
        retries=sum(max(0, row.attempts - 1) for row in rows),
    )
    return Audit(counts, rows, tuple(problems))


def _judge(entry: Entry, stored: Stored, outbox: Outbox) -> Row:
    responses = outbox.responses.get(entry.id, [])
    letters = outbox.dead_letters.get(entry.body, [])
    job = stored.jobs.get(entry.id)
    results = stored.results.get(entry.id, [])
    result = results[0] if results else None
    fate = _fate(job, results, letters, responses)
    reason = letters[0] if letters else {}
    duplicated = (
        len(results) > 1
        or stored.scored[entry.id] > 1
        or len(letters) > entry.deliveries
        or len({json.dumps(body, sort_keys=True) for body in responses}) > 1
    )
    error = job.last_error if job else None
    return Row(
        id=entry.id,
        mishap=entry.mishap,
        scorecard=entry.job.scorecard if entry.job else "",
        score=entry.job.score if entry.job else "",
        item=(entry.job.item_id or "") if entry.job else "",
        fate=fate,
        value=result.value if result else None,
        explanation=result.explanation if result else None,
        reason=reason.get("reason") or (error.message if error and not result else None),
        attempts=job.attempt if job else 0,
        responses=len(responses),
        cost=result.cost.total_cost + result.dependencies_cost.total_cost if result else 0.0,
        tokens=result.cost.total_tokens if result else 0,
        started_at=job.started_at if job else None,
        completed_at=job.completed_at if job else None,
        problems=tuple(_problems(entry, fate, job, result, responses, stored)),
        duplicated=duplicated,
    )


def _fate(
    job: ScoringJob | None,
    results: list[ScoreResult],
    letters: list[dict[str, str]],
    responses: list[dict[str, Any]],
) -> str:
    if job is None:  # a message that names no job can only end as a dead letter with its reason
        return "dead_lettered" if letters and letters[0].get("reason_code") else "lost"
    kinds = {body["status"] for body in responses}
    if job.status is JobStatus.COMPLETED and results and kinds == {"success"}:
        return "completed"
    if job.status is JobStatus.FAILED and not results and kinds == {"error"}:
        return "dead_lettered" if letters else "failed"
    return "lost"


_EXPECTED_FATES = {
    Mishap.POISON: "dead_lettered",
    Mishap.UNKNOWN: "dead_lettered",
    Mishap.OBJECT_MISSING: "dead_lettered",
    Mishap.SCORE_MISSING: "dead_lettered",
    Mishap.UNMET: "failed",
}


def _problems(
    entry: Entry,
    fate: str,
    job: ScoringJob | None,
    result: ScoreResult | None,
    responses: list[dict[str, Any]],
    stored: Stored,
) -> Iterable[str]:
    """Say what is not as it should be, beyond being lost or duplicated."""
    wanted = _EXPECTED_FATES.get(entry.mishap, "completed")
    if fate != wanted:
        error = f" ({job.last_error.message})" if job and job.last_error else ""
        yield f"ended as {fate}, not as {wanted}{error}"
    if entry.mishap is Mishap.FLAKY and (job is None or job.attempt < 2):  # noqa: PLR2004  one failed
        yield "was to fail once and be tried again, but has no second attempt"
    if entry.mishap is Mishap.DUPLICATE and len(responses) != entry.deliveries:
        yield f"was delivered {entry.deliveries} times and answered {len(responses)} times"
    if result is not None:
        keys = {key for key in (result.attachments.trace, result.attachments.log) if key}
        if missing := keys - stored.attachments:
            yield f"its attachments are not in the bucket: {', '.join(sorted(missing))}"
