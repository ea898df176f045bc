"""A scoring job, its states, and the lease that guards every transition out of IN_PROGRESS.

Times are seconds since the epoch (UTC), as `Clock.now` gives them. The state machine is drawn in
``docs/state-machine.md``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreResult


class JobStatus(StrEnum):
    """The stored statuses; the names are those of Plexus's ScoringJob."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


DEFAULT_ACCOUNT = "default"


class JobKey(msgspec.Struct, frozen=True, order=True):
    """What identifies a job: the account it belongs to, and the caller's id within that account."""

    account: str
    id: str

    @property
    def text(self) -> str:
        """The key as one text. No two keys have the same text, whatever characters they have."""
        if self.account and "/" not in self.account:
            return f"{self.account}/{self.id}"
        return f"/{len(self.account)}:{self.account}/{self.id}"


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a job says before it exists: which item, which score.

    Attributes:
        id: The job's id within its account. Creating the same id twice creates one job.
        scorecard: Id, key, external id or name of the scorecard.
        score: Name, key, id or external id of the score on it.
        item_id: The stored item; or
        item: the item itself, for a job that brings its own.
        account: Account key or id. The same id in two accounts is two jobs.
    """

    id: str
    scorecard: str
    score: str
    request_id: str | None = None
    item_id: str | None = None
    item: Item | None = None
    account: str = DEFAULT_ACCOUNT
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> JobKey:
        """What identifies the job."""
        return JobKey(self.account, self.id)


class ScoringJob(msgspec.Struct, frozen=True, kw_only=True):
    """A stored job. `attempt` counts claims that were not released uncounted; 0 before the first."""

    id: str
    scorecard: str
    score: str
    status: JobStatus
    created_at: float
    updated_at: float
    request_id: str | None = None
    item_id: str | None = None
    item: Item | None = None
    account: str = DEFAULT_ACCOUNT
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    attempt: int = 0
    not_before: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None
    lease_token: str | None = None
    lease_expires_at: float | None = None
    last_error: ErrorInfo | None = None
    result_id: str | None = None

    @property
    def key(self) -> JobKey:
        """What identifies the job."""
        return JobKey(self.account, self.id)


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to end a job's current attempt, until `expires_at`.

    `token` is the fence: a store refuses every transition that does not carry the token it holds.
    """

    key: JobKey
    token: str
    expires_at: float
    attempt: int


class Claimed(msgspec.Struct, frozen=True):
    """The job is ours until the lease runs out."""

    job: ScoringJob
    lease: Lease


class Finished(msgspec.Struct, frozen=True):
    """The job ended before: `result` if it is COMPLETED, None if it FAILED (see `job.last_error`)."""

    job: ScoringJob
    result: ScoreResult | None


class Busy(msgspec.Struct, frozen=True):
    """Someone else holds a lease that runs out in `retry_after` seconds."""

    retry_after: float


class NotDue(msgspec.Struct, frozen=True):
    """The job waits for its next attempt, due in `retry_after` seconds."""

    retry_after: float


class Missing(msgspec.Struct, frozen=True):
    """No such job."""


ClaimAnswer = Claimed | Finished | Busy | NotDue | Missing


class JobPage(msgspec.Struct, frozen=True):
    """One page of a listing. `cursor` is opaque; None on the last page."""

    jobs: tuple[ScoringJob, ...]
    cursor: str | None = None
