"""What the service needs from outside, as protocols. Adapters implement them; none imports another.

Every method may raise `StoreUnavailable` (stores, attachments, responder: the outside cannot answer now)
besides what it documents. All times are seconds; points in time are seconds since the epoch (UTC).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import msgspec

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import (
    DEFAULT_ACCOUNT,
    ClaimAnswer,
    Claimed,
    JobKey,
    JobPage,
    JobStatus,
    Lease,
    NewJob,
    ScoringJob,
)
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.model.result import ScoreOutcome, ScoreResult
from plexus_scoring.model.scorecard import Scorecard


class Clock(Protocol):
    """Time, replaceable in tests."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@runtime_checkable
class JobStore(Protocol):
    """Jobs, their state machine, and their results.

    A job is identified by its account and its id there: the same id in two accounts is two jobs, and no call about
    one sees or touches the other. The content of a job (scorecard, score and item) never changes.

    Every transition out of IN_PROGRESS carries the lease and is refused with `LeaseLost` if the job's
    stored token is another or none. A lease that ran out but that nobody took still holds.
    """

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job; if its key exists with the same content, change nothing and return what is stored.

        Raises InvalidRequest if the key exists with other content, or cannot be stored.
        """
        ...

    async def claim(
        self, key: JobKey, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it is PENDING and due, or IN_PROGRESS with a lease that ran out.

        A claim sets a new token and adds 1 to `attempt`. With `new` (whose key is `key`) a job that does
        not exist is created and claimed in the same write. Exactly one of several concurrent claimers wins.

        Raises InvalidRequest if the job is stored with other content than `new`; then nothing is changed.
        """
        ...

    async def claim_oldest(
        self, *, account: str | None = None, lease_seconds: float
    ) -> Claimed | None:
        """Claim the PENDING, due job that was created first; None if there is none."""
        ...

    async def renew(self, lease: Lease, *, lease_seconds: float) -> Lease:
        """Move the lease's end to now + `lease_seconds`. Raises LeaseLost."""
        ...

    async def complete(self, lease: Lease, result: ScoreResult) -> None:
        """Store the result and COMPLETED in one atomic write. Raises LeaseLost, then nothing is written.

        Completing again with the same lease and result (a retried call whose answer was lost) succeeds.
        """
        ...

    async def release(
        self, lease: Lease, *, delay: float, counted: bool, error: ErrorInfo | None = None
    ) -> None:
        """Give the job back: PENDING, due after `delay`; not `counted` takes 1 off `attempt`. Raises LeaseLost."""
        ...

    async def fail(self, lease: Lease, error: ErrorInfo) -> None:
        """End the job as FAILED. Raises LeaseLost. Failing again with the same lease succeeds."""
        ...

    async def redrive(self, key: JobKey) -> ScoringJob:
        """Make a FAILED job PENDING and due now, with `attempt` 0. Raises NotFound, InvalidRequest (not FAILED)."""
        ...

    async def get(self, key: JobKey) -> ScoringJob | None:
        """Return the job, or None."""
        ...

    async def result(self, result_id: str, *, account: str = DEFAULT_ACCOUNT) -> ScoreResult | None:
        """Return a result of the account by its own id, or None."""
        ...

    async def list_jobs(
        self,
        status: JobStatus,
        *,
        account: str = DEFAULT_ACCOUNT,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = True,
    ) -> JobPage:
        """Return one page of an account's jobs of that status, ordered by `updated_at`.

        Raises InvalidRequest for a cursor that this store did not give.
        """
        ...

    async def list_stranded(
        self, *, pending_older_than: float, limit: int = 100, account: str | None = None
    ) -> tuple[ScoringJob, ...]:
        """Return due PENDING jobs untouched for `pending_older_than` s, and IN_PROGRESS ones past their lease.

        Their content may be left out: key, state and `request_id`, if it is told, are what a message is made of.
        """
        ...

    async def find_result(
        self, *, item_digest: str, score_version: str, score: str, account: str = DEFAULT_ACCOUNT
    ) -> ScoreResult | None:
        """Return the account's newest stored result of the same content, score and version, or None."""
        ...

    async def check(self) -> str:
        """Return, if the store is reachable and set up, what it is in a few words.

        Raises StoreUnavailable, ConfigurationError.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


@runtime_checkable
class Catalog(Protocol):
    """Items and scorecards."""

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item, text inline or by reference. Raises NotFound."""
        ...

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version by id, key, external id or name. Raises NotFound, ScorecardError."""
        ...

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        ...

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a scorecard's version and make it the newest."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


@runtime_checkable
class AttachmentStore(Protocol):
    """Files: traces, logs, large texts. Writing a key again replaces the object."""

    async def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object of our own bucket or directory."""
        ...

    async def get(self, key: str) -> bytes:
        """Read an object of our own. Raises NotFound."""
        ...

    async def read(self, ref: ObjectRef) -> bytes:
        """Read an object of any bucket that we may read. Raises NotFound, InvalidRequest (access denied)."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


ANSWERED: ContextVar[list[ScoringResponse] | None] = ContextVar("answered", default=None)
"""Where the service also puts each response, for whoever waits for it: a synchronous invocation."""


@runtime_checkable
class Responder(Protocol):
    """Where responses go."""

    async def respond(self, response: ScoringResponse) -> None:
        """Send the response, durably. Returning means that the broker has it."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


class Checkpoints(Protocol):
    """Answers already paid for, kept per job, so that a retried job does not pay again."""

    async def load(self, key: JobKey) -> dict[str, bytes]:
        """Return all of a job's checkpoints, by name."""
        ...

    async def save(self, key: JobKey, name: str, value: bytes) -> None:
        """Store one. Losing it costs money, never correctness."""
        ...


class ScoreContext(msgspec.Struct, frozen=True, kw_only=True):
    """One score to be computed.

    Attributes:
        item: The item, its text loaded.
        scorecard: The scorecard's text; engines cache what they make of it by `version`.
        score: Name, key, id or external id of a score on it.
        job: For checkpoints and turns at a provider; None for a score without a job.
        attempt: From 1.
        deadline: When the answer must be there (seconds since the epoch); None: no limit.
        checkpoints: Where to keep answers already paid for; None: nowhere.
    """

    item: Item
    scorecard: Scorecard
    score: str
    job: JobKey | None = None
    attempt: int = 1
    deadline: float | None = None
    checkpoints: Checkpoints | None = None


@runtime_checkable
class ScoringEngine(Protocol):
    """How a score gets its value."""

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score.

        Raises NotFound (no such score on the scorecard), ScorecardError, ScoreFailed, BudgetExceeded,
        DependencyUnmet, ScoreDisabled, InvalidRequest (the item cannot be scored), EngineUnavailable,
        DeadlineExceeded. Cancelling the call stops the work. Logs go to the `logging` module and are
        gathered by job.
        """
        ...

    async def aclose(self) -> None:
        """Close clients and threads. Safe to call twice."""
        ...


Sleep = Callable[[float], Awaitable[None]]
Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]
