"""Jobs and results in a database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from sqlalchemy import Connection

from plexus_scoring.model.errors import (
    ErrorInfo,
    LeaseLost,
    ScoringError,
    StoreUnavailable,
)
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
from plexus_scoring.ports import Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import bounded, encode, is_id, is_key, memo_key, round_trip
from plexus_scoring.stores.content import check_same
from plexus_scoring.stores.sql import queries, rows
from plexus_scoring.stores.sql.batch import Batcher, Change
from plexus_scoring.stores.sql.database import Database
from plexus_scoring.stores.sql.setup import check_schema
from plexus_scoring.stores.sql.tokens import new_token

log = logging.getLogger(__name__)


class SqlJobStore:
    """A `JobStore` on SQLite or PostgreSQL.

    Operations on one job go through the `Batcher`; what looks at many jobs has a transaction of its own.
    """

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._batcher = Batcher(database)
        self._abandoned: set[asyncio.Task[None]] = set()

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job, or return what is stored."""
        created = round_trip(transitions.created(job, now=self._clock.now()))
        body = encode(job).decode()

        def decide(stored: ScoringJob | None) -> Change:
            if stored is None:
                return Change(created, created, body)
            check_same(stored, created)
            return Change(transitions.public(stored))

        answer: ScoringJob = await self._batcher.run(job.key, decide, with_body=True)
        return answer

    async def claim(
        self, key: JobKey, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it may be taken."""
        now, token = self._clock.now(), new_token()
        created, body = None, None
        if new is not None:
            transitions.check_key(key, new)
            created = round_trip(transitions.created(new, now=now))
            body = encode(new).decode()
        elif not is_key(key):
            return Missing()

        def decide(stored: ScoringJob | None) -> Change:
            job = stored or created
            if job is None:
                return Change(Missing())
            if stored is not None and created is not None:
                check_same(stored, created)
            if job.status is JobStatus.IN_PROGRESS and job.lease_token == token:
                # This very call, made again after the connection broke in its commit.
                return Change(Claimed(job, transitions.lease_of(job)))
            if not transitions.claimable(job, now=now):
                refusal = transitions.refusal(job, now=now)
                return Change(refusal or Finished(transitions.public(job), None))
            taken = transitions.claimed(job, now=now, token=token, lease_seconds=lease_seconds)
            answer = Claimed(taken, transitions.lease_of(taken))
            return Change(answer, taken, body if stored is None else None)

        answer: ClaimAnswer = await self._batcher.run(
            key, decide, with_body=True, abandoned=self._give_back
        )
        if isinstance(answer, Finished) and answer.job.result_id is not None:
            result = await self.result(answer.job.result_id, account=key.account)
            return Finished(answer.job, result)
        return answer

    async def claim_oldest(
        self, *, account: str | None = None, lease_seconds: float
    ) -> Claimed | None:
        """Claim the PENDING, due job that was created first and that nobody is looking at."""
        now, token = self._clock.now(), new_token()
        again = False

        def work(connection: Connection) -> Claimed | None:
            nonlocal again
            if again and (held := queries.held(connection, token)) is not None:
                # This very call, made again after the connection broke in its commit.
                return Claimed(held, transitions.lease_of(held))
            again = True
            job = queries.lock_oldest(connection, now=now, account=account)
            if job is None:
                return None
            taken = transitions.claimed(job, now=now, token=token, lease_seconds=lease_seconds)
            queries.save(connection, taken)
            return Claimed(taken, transitions.lease_of(taken))

        if account is not None and not is_id(account):
            return None
        claim = asyncio.create_task(self._database.write(work))
        try:
            # Shielded: a thread that has begun commits, whatever becomes of its caller.
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            self._beside(self._give_back_oldest(claim))
            raise

    async def renew(self, lease: Lease, *, lease_seconds: float) -> Lease:
        """Move the lease's end."""
        now = self._clock.now()

        def decide(stored: ScoringJob | None) -> Change:
            if stored is None or not transitions.holds(stored, lease):
                raise transitions.lost(stored, lease)
            job = transitions.renewed(stored, now=now, lease_seconds=lease_seconds)
            return Change(transitions.lease_of(job), job)

        answer: Lease = await self._batcher.run(lease.key, decide)
        return answer

    async def complete(self, lease: Lease, result: ScoreResult) -> None:
        """Store the result and COMPLETED in one transaction."""
        transitions.check_result(lease, result)
        now, row = self._clock.now(), rows.result_row(result)

        def decide(stored: ScoringJob | None) -> Change:
            if stored is not None and transitions.holds(stored, lease):
                return Change(None, transitions.completed(stored, result, now=now), result=row)
            if transitions.ended_by(stored, lease, JobStatus.COMPLETED):
                return Change(stored)
            raise transitions.lost(stored, lease)

        repeated: ScoringJob | None = await self._batcher.run(lease.key, decide)
        if repeated is None:
            return
        if await self.result(result.id, account=result.account) != round_trip(result):
            raise transitions.lost(repeated, lease)

    async def release(
        self, lease: Lease, *, delay: float, counted: bool, error: ErrorInfo | None = None
    ) -> None:
        """Give the job back."""
        now = self._clock.now()
        kept = bounded(error)

        def decide(stored: ScoringJob | None) -> Change:
            if transitions.ended_by(stored, lease, JobStatus.PENDING):
                return Change(None)
            if stored is None or not transitions.holds(stored, lease):
                raise transitions.lost(stored, lease)
            return Change(
                None,
                transitions.released(stored, now=now, delay=delay, counted=counted, error=kept),
            )

        await self._batcher.run(lease.key, decide)

    async def fail(self, lease: Lease, error: ErrorInfo) -> None:
        """End the job as FAILED."""
        now = self._clock.now()

        def decide(stored: ScoringJob | None) -> Change:
            if transitions.ended_by(stored, lease, JobStatus.FAILED):
                return Change(None)
            if stored is None or not transitions.holds(stored, lease):
                raise transitions.lost(stored, lease)
            return Change(None, transitions.failed(stored, error, now=now))

        await self._batcher.run(lease.key, decide)

    async def redrive(self, key: JobKey) -> ScoringJob:
        """Make a FAILED job PENDING."""
        now = self._clock.now()

        def decide(stored: ScoringJob | None) -> Change:
            if stored is None:
                raise transitions.missing(key)
            job = transitions.redriven(stored, now=now)
            return Change(job, job)

        if not is_key(key):
            raise transitions.missing(key)
        answer: ScoringJob = await self._batcher.run(key, decide, with_body=True)
        return answer

    async def get(self, key: JobKey) -> ScoringJob | None:
        """Return the job, or None."""
        if not is_key(key):
            return None
        return await self._database.read(lambda connection: queries.job(connection, key))

    async def result(self, result_id: str, *, account: str = DEFAULT_ACCOUNT) -> ScoreResult | None:
        """Return a result, or None."""
        if not is_key(JobKey(account, result_id)):
            return None
        return await self._database.read(
            lambda connection: queries.result(connection, result_id, account)
        )

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
        if not is_id(account):
            return JobPage(())
        return await self._database.read(
            lambda connection: queries.page(
                connection,
                status,
                account=account,
                limit=limit,
                cursor=cursor,
                oldest_first=oldest_first,
            )
        )

    async def list_stranded(
        self, *, pending_older_than: float, limit: int = 100, account: str | None = None
    ) -> tuple[ScoringJob, ...]:
        """Return jobs that nobody seems to be coming for, oldest first."""
        now = self._clock.now()
        if account is not None and not is_id(account):
            return ()
        return await self._database.read(
            lambda connection: queries.stranded(
                connection,
                now=now,
                pending_older_than=pending_older_than,
                limit=limit,
                account=account,
            )
        )

    async def find_result(
        self, *, item_digest: str, score_version: str, score: str, account: str = DEFAULT_ACCOUNT
    ) -> ScoreResult | None:
        """Return the account's newest stored result of the same content, score and version."""
        if not is_id(account):
            return None
        memo = memo_key(item_digest=item_digest, score_version=score_version, score=score)
        return await self._database.read(
            lambda connection: queries.newest(connection, memo, account)
        )

    async def check(self) -> str:
        """Return what the database is, if it has our tables. Raises StoreUnavailable, ConfigurationError."""

        def work(connection: Connection) -> str:
            check_schema(connection)
            return self._database.describe(connection)

        return await self._database.read(work)

    async def aclose(self) -> None:
        """Finish what is under way and close the connections."""
        await self._batcher.aclose()
        while abandoned := self._abandoned:
            # A new list each time: gathering what has ended need not let the loop turn, so none would be taken out.
            self._abandoned = set()
            await asyncio.gather(*abandoned)
        await self._database.aclose()

    def _give_back(self, answer: Any) -> None:
        """Release a claim whose caller was cancelled while it was made: nobody works on it."""
        if isinstance(answer, Claimed):
            self._beside(self._release_unheard(answer.lease))

    async def _give_back_oldest(self, claim: asyncio.Task[Claimed | None]) -> None:
        with contextlib.suppress(ScoringError):  # then nothing was claimed
            self._give_back(await claim)

    async def _release_unheard(self, lease: Lease) -> None:
        try:
            await self.release(lease, delay=0, counted=False)
        except (LeaseLost, StoreUnavailable) as error:
            log.warning(
                "job %s not released, its lease will expire: %s", lease.key.id, error.message
            )

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
