"""Jobs, results, items and scorecards in this process: for tests, demos and one text at a time.

Each method does its work without waiting, under one lock, so it may be shared by threads and loops.
Documents are put through the same JSON as in the databases, so what comes back is what they would give.
"""

from __future__ import annotations

import threading

from plexus_scoring.model.errors import ErrorInfo, NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import (
    DEFAULT_ACCOUNT,
    ClaimAnswer,
    Claimed,
    Finished,
    JobKey,
    JobPage,
    JobStatus,
    Lease,
    Missing,
    NewJob,
    ScoringJob,
)
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import Clock
from plexus_scoring.stores import cursor as cursors
from plexus_scoring.stores import select, transitions
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.codec import check_id, memo_key, memo_key_of, round_trip
from plexus_scoring.stores.content import check_same


class MemoryJobStore:
    """A `JobStore` that forgets everything when the process ends."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._jobs: dict[JobKey, ScoringJob] = {}
        self._results: dict[tuple[str, str], ScoreResult] = {}

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job, or return what is stored."""
        with self._lock:
            return transitions.public(self._created(job, self._clock.now()))

    async def claim(
        self, key: JobKey, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it may be taken."""
        with self._lock:
            now = self._clock.now()
            if new is not None:
                transitions.check_key(key, new)
            job = self._jobs.get(key) if new is None else self._created(new, now)
            if job is None:
                return Missing()
            if not transitions.claimable(job, now=now):
                return transitions.refusal(job, now=now) or Finished(
                    transitions.public(job), self._results.get((key.account, job.result_id or ""))
                )
            return self._claimed(job, now, lease_seconds)

    async def claim_oldest(
        self, *, account: str | None = None, lease_seconds: float
    ) -> Claimed | None:
        """Claim the PENDING, due job that was created first."""
        with self._lock:
            now = self._clock.now()
            due = [
                job
                for job in self._jobs.values()
                if job.status is JobStatus.PENDING
                and job.not_before <= now
                and account in (None, job.account)
            ]
            if not due:
                return None
            return self._claimed(
                min(due, key=lambda job: (job.created_at, job.key)), now, lease_seconds
            )

    async def renew(self, lease: Lease, *, lease_seconds: float) -> Lease:
        """Move the lease's end."""
        with self._lock:
            job = transitions.renewed(
                self._held(lease), now=self._clock.now(), lease_seconds=lease_seconds
            )
            self._jobs[job.key] = job
            return transitions.lease_of(job)

    async def complete(self, lease: Lease, result: ScoreResult) -> None:
        """Store the result and COMPLETED."""
        transitions.check_result(lease, result)
        stored = round_trip(result)
        with self._lock:
            job = self._jobs.get(lease.key)
            place = (lease.key.account, result.id)
            if (
                transitions.ended_by(job, lease, JobStatus.COMPLETED)
                and self._results[place] == stored
            ):
                return
            self._jobs[lease.key] = transitions.completed(
                self._held(lease), result, now=self._clock.now()
            )
            self._results[place] = stored

    async def release(
        self, lease: Lease, *, delay: float, counted: bool, error: ErrorInfo | None = None
    ) -> None:
        """Give the job back."""
        with self._lock:
            if transitions.ended_by(self._jobs.get(lease.key), lease, JobStatus.PENDING):
                return
            self._jobs[lease.key] = transitions.released(
                self._held(lease), now=self._clock.now(), delay=delay, counted=counted, error=error
            )

    async def fail(self, lease: Lease, error: ErrorInfo) -> None:
        """End the job as FAILED."""
        with self._lock:
            if transitions.ended_by(self._jobs.get(lease.key), lease, JobStatus.FAILED):
                return
            self._jobs[lease.key] = transitions.failed(
                self._held(lease), error, now=self._clock.now()
            )

    async def redrive(self, key: JobKey) -> ScoringJob:
        """Make a FAILED job PENDING."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                raise transitions.missing(key)
            self._jobs[key] = job = transitions.redriven(job, now=self._clock.now())
            return job

    async def get(self, key: JobKey) -> ScoringJob | None:
        """Return the job, or None."""
        with self._lock:
            job = self._jobs.get(key)
            return None if job is None else transitions.public(job)

    async def result(self, result_id: str, *, account: str = DEFAULT_ACCOUNT) -> ScoreResult | None:
        """Return a result, or None."""
        with self._lock:
            return self._results.get((account, result_id))

    async def list_jobs(
        self,
        status: JobStatus,
        *,
        account: str = DEFAULT_ACCOUNT,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = True,
    ) -> JobPage:
        """Return one page of an account's jobs of that status."""
        listing = cursors.listing_of(status, account, oldest_first=oldest_first)
        after = cursors.read(cursor, listing) if cursor is not None else None
        with self._lock:
            jobs = sorted(
                (
                    job
                    for job in self._jobs.values()
                    if job.status is status and job.account == account
                ),
                key=lambda job: (job.updated_at, job.id),
                reverse=not oldest_first,
            )
        if after is not None:
            place = (after.updated_at, after.job_id)
            jobs = [
                job
                for job in jobs
                if (
                    (job.updated_at, job.id) > place
                    if oldest_first
                    else (job.updated_at, job.id) < place
                )
            ]
        page = jobs[:limit]
        more = len(jobs) > limit
        return JobPage(
            tuple(map(transitions.public, page)),
            cursors.write(listing, page[-1].updated_at, page[-1].id) if more and page else None,
        )

    async def list_stranded(
        self, *, pending_older_than: float, limit: int = 100, account: str | None = None
    ) -> tuple[ScoringJob, ...]:
        """Return jobs that nobody seems to be coming for, oldest first."""
        with self._lock:
            now = self._clock.now()
            jobs = [
                job
                for job in self._jobs.values()
                if account in (None, job.account)
                and transitions.stranded(job, now=now, pending_older_than=pending_older_than)
            ]
        jobs.sort(key=lambda job: (job.created_at, job.key))
        return tuple(map(transitions.public, jobs[:limit]))

    async def find_result(
        self, *, item_digest: str, score_version: str, score: str, account: str = DEFAULT_ACCOUNT
    ) -> ScoreResult | None:
        """Return the account's newest stored result of the same content, score and version."""
        wanted = memo_key(
            item_digest=item_digest, score_version=score_version, score=score, account=account
        )
        with self._lock:
            found = [result for result in self._results.values() if wanted == memo_key_of(result)]
        return max(found, key=lambda result: result.created_at, default=None)

    async def check(self) -> str:
        """Return: this process is there."""
        return "in this process alone"

    async def aclose(self) -> None:
        """Close nothing."""

    def _created(self, new: NewJob, now: float) -> ScoringJob:
        stored = self._jobs.get(new.key)
        if stored is None:
            stored = round_trip(transitions.created(new, now=now))
            self._jobs[new.key] = stored
        else:
            check_same(stored, new)
        return stored

    def _claimed(self, job: ScoringJob, now: float, lease_seconds: float) -> Claimed:
        taken = transitions.claimed(
            job,
            now=now,
            token=transitions.new_token(),
            lease_seconds=lease_seconds,
        )
        self._jobs[job.key] = taken
        return Claimed(taken, transitions.lease_of(taken))

    def _held(self, lease: Lease) -> ScoringJob:
        job = self._jobs.get(lease.key)
        if job is None or not transitions.holds(job, lease):
            raise transitions.lost(job, lease)
        return job


class MemoryCatalog:
    """A `Catalog` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str | None], Item] = {}
        self._scorecards: dict[tuple[str, str | None], Scorecard] = {}
        self._versions: dict[tuple[str, str | None, str], Scorecard] = {}

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item."""
        found = [item for (key, _), item in self._items.items() if key == item_id]
        return select.one_item(found, item_id, account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version."""
        return select.one_scorecard(list(self._scorecards.values()), reference, account)

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        check_id(item.id, "the item's id")
        self._items[item.id, item.account_id] = round_trip(item)

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a scorecard and make it the newest."""
        check_id(scorecard.id, "the scorecard's id")
        key = (scorecard.id, scorecard.account_id)
        self._scorecards.pop(key, None)
        self._scorecards[key] = round_trip(scorecard)
        self._versions[*key, scorecard.version] = self._scorecards[key]

    async def scorecard_version(
        self, scorecard_id: str, version: str, *, account: str | None = None
    ) -> Scorecard:
        """Return one version of the account's (None: the shared) scorecard. Raises NotFound."""
        found = self._versions.get((scorecard_id, account, version))
        if found is None:
            raise NotFound(f"scorecard {scorecard_id!a} has no version {version!a}")
        return found

    async def aclose(self) -> None:
        """Close nothing."""


class MemoryCheckpoints:
    """`Checkpoints` that are forgotten when the process ends."""

    def __init__(self) -> None:
        self._values: dict[JobKey, dict[str, bytes]] = {}

    async def load(self, key: JobKey) -> dict[str, bytes]:
        """Return all of a job's checkpoints."""
        return dict(self._values.get(key, {}))

    async def save(self, key: JobKey, name: str, value: bytes) -> None:
        """Store one."""
        self._values.setdefault(key, {})[name] = value
