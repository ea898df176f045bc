"""Jobs and results of Plexus, under leases of ours.

The lease store is a `JobStore` of our own (DynamoDB or SQL). It alone decides: a claim, an end or a result is true once
it is written there, under its fence. Plexus's records follow. What a crash keeps from them is written when the job's
message comes again (see ``docs/adr/0030-plexus-api-store.md``).
"""

from __future__ import annotations

import logging

from msgspec import structs

from plexus_scoring.model.errors import (
    ConfigurationError,
    ErrorInfo,
    InvalidRequest,
    LeaseLost,
    NotFound,
    StoreUnavailable,
)
from plexus_scoring.model.job import (
    DEFAULT_ACCOUNT,
    Busy,
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
from plexus_scoring.ports import Clock, JobStore
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import is_id, is_key
from plexus_scoring.stores.plexus_api import records
from plexus_scoring.stores.plexus_api.accounts import Accounts
from plexus_scoring.stores.plexus_api.claims import OTHERS_CLAIM_SECONDS, Claims
from plexus_scoring.stores.plexus_api.client import GraphQLClient
from plexus_scoring.stores.plexus_api.errors import Misconfigured
from plexus_scoring.stores.plexus_api.projection import Projection, reusable
from plexus_scoring.stores.plexus_api.reader import ApiJob, Reader

log = logging.getLogger(__name__)

_CLAIM_ROUNDS = 3


class PlexusApiJobStore:
    """A `JobStore` whose jobs and results are Plexus's.

    Args:
        client: The API.
        leases: The store that decides.
        reader: Reads Plexus's records.
        projection: Writes them.
        claims: Plexus's own claims.
        accounts: Ids of accounts.
        account: Key of the account whose jobs are worked on; None: every account's.
        takeover_seconds: How long after its start a job that Plexus's own worker began is left to it.
        clock: Time.
    """

    def __init__(
        self,
        client: GraphQLClient,
        leases: JobStore,
        *,
        reader: Reader,
        projection: Projection,
        claims: Claims,
        accounts: Accounts,
        account: str | None,
        takeover_seconds: float,
        clock: Clock,
    ) -> None:
        self._client = client
        self._leases = leases
        self._reader = reader
        self._projection = projection
        self._claims = claims
        self._accounts = accounts
        self._account = account
        self._takeover = takeover_seconds
        self._clock = clock

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job here and in Plexus, or return what is stored."""
        stored = await self._leases.create(job)
        if stored.status is JobStatus.PENDING:
            await self._projection.created(stored)
        return stored

    async def claim(
        self, key: JobKey, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it may be taken; a job that only Plexus knows becomes known here by its first claim."""
        if new is not None:
            answer = await self._leases.claim(key, lease_seconds=lease_seconds, new=new)
            return await self._marked(answer, None)
        if not is_key(key):
            return Missing()
        shown = await self._reader.job(key)
        if shown is None:
            # Not in Plexus, or not in its account; a job of ours whose record is lost is still a job.
            answer = await self._leases.claim(key, lease_seconds=lease_seconds)
            return await self._marked(answer, None)
        if shown.status is JobStatus.COMPLETED or shown.status is JobStatus.FAILED:
            ended = await self._ended(shown)
            if ended is not None:
                return ended
        return await self._claim(shown, lease_seconds)

    async def claim_oldest(
        self, *, account: str | None = None, lease_seconds: float
    ) -> Claimed | None:
        """Claim the PENDING, due job of the account that was created first, by Plexus's listing.

        Without an account (and none set) only jobs that this service knows are seen.
        """
        account = account or self._account
        if account is None:
            claimed = await self._leases.claim_oldest(lease_seconds=lease_seconds)
            return None if claimed is None else await self._marked_or_none(claimed)
        if not is_id(account):
            return None
        for _ in range(_CLAIM_ROUNDS):
            candidates = await self._reader.open_jobs(account, JobStatus.PENDING)
            for record in candidates:
                key = JobKey(account, str(record["id"]))
                answer = await self.claim(key, lease_seconds=lease_seconds)
                if isinstance(answer, Claimed):
                    return answer
            if not candidates:
                break
        return None

    async def renew(self, lease: Lease, *, lease_seconds: float) -> Lease:
        """Move the lease's end."""
        return await self._leases.renew(lease, lease_seconds=lease_seconds)

    async def complete(self, lease: Lease, result: ScoreResult) -> None:
        """Store the result and COMPLETED here, then in Plexus.

        Raises StoreUnavailable if Plexus cannot be told now: the job has ended all the same, and the message's
        redelivery tells it.
        """
        await self._leases.complete(lease, result)
        job = await self._projected_job(lease, result)
        await self._projection.completed(job, result)

    async def release(
        self, lease: Lease, *, delay: float, counted: bool, error: ErrorInfo | None = None
    ) -> None:
        """Give the job back."""
        await self._leases.release(lease, delay=delay, counted=counted, error=error)
        job = await self._leases.get(lease.key)
        if job is not None and job.status is JobStatus.PENDING:
            await self._projection.released(job)

    async def fail(self, lease: Lease, error: ErrorInfo) -> None:
        """End the job as FAILED."""
        await self._leases.fail(lease, error)
        job = await self._leases.get(lease.key)
        if job is not None and job.status is JobStatus.FAILED:
            await self._projection.failed(job)

    async def redrive(self, key: JobKey) -> ScoringJob:
        """Make a FAILED job PENDING, also one that Plexus's own worker failed."""
        try:
            job = await self._leases.redrive(key)
        except NotFound:
            shown = await self._reader.job(key)
            if shown is None:
                raise
            if shown.status is not JobStatus.FAILED:
                raise transitions.not_redrivable(shown.job()) from None
            job = await self._leases.create(shown.new)
            self._reader.hand_over(shown)
        await self._projection.redriven(job)
        return job

    async def get(self, key: JobKey) -> ScoringJob | None:
        """Return the job, or None."""
        job = await self._leases.get(key)
        if job is not None:
            return job
        shown = await self._reader.job(key)
        return None if shown is None else shown.job()

    async def result(self, result_id: str, *, account: str = DEFAULT_ACCOUNT) -> ScoreResult | None:
        """Return a result, ours or Plexus's, or None."""
        ours = await self._leases.result(result_id, account=account)
        return ours or await self._reader.result(result_id, account=account)

    async def list_jobs(
        self,
        status: JobStatus,
        *,
        account: str = DEFAULT_ACCOUNT,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = True,
    ) -> JobPage:
        """Return one page of the jobs that this service has seen; Plexus's own pages list all."""
        return await self._leases.list_jobs(
            status, account=account, limit=limit, cursor=cursor, oldest_first=oldest_first
        )

    async def list_stranded(
        self, *, pending_older_than: float, limit: int = 100, account: str | None = None
    ) -> tuple[ScoringJob, ...]:
        """Return jobs that nobody seems to be coming for: ours, and PENDING ones that only Plexus knows."""
        account = account or self._account
        ours = await self._leases.list_stranded(
            pending_older_than=pending_older_than, limit=limit, account=account
        )
        if account is None or not is_id(account) or len(ours) >= limit:
            return ours
        before = self._clock.now() - pending_older_than
        found = list(ours)
        for record in await self._reader.open_jobs(account, JobStatus.PENDING):
            job = records.job_of(record, account=account)
            if job.updated_at <= before and await self._leases.get(job.key) is None:
                found.append(job)
            if len(found) >= limit:
                break
        return tuple(sorted(found, key=lambda job: (job.created_at, job.key)))

    async def find_result(
        self, *, item_digest: str, score_version: str, score: str, account: str = DEFAULT_ACCOUNT
    ) -> ScoreResult | None:
        """Return the newest stored result of the same content, score and version; never an ERROR or DISABLED one."""
        return reusable(
            await self._leases.find_result(
                item_digest=item_digest, score_version=score_version, score=score, account=account
            )
        )

    async def check(self) -> str:
        """Return what the lease store is, if it, API, key and account work.

        Raises StoreUnavailable, ConfigurationError.
        """
        leases = await self._leases.check()
        try:
            if self._account is None:
                await self._reader.ask()
            else:
                await self._accounts.id_of(self._account)
        except Misconfigured as error:
            raise ConfigurationError(error.message) from error
        return f"Plexus's API; leases: {leases}"

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()
        await self._leases.aclose()

    async def _claim(self, shown: ApiJob, lease_seconds: float) -> ClaimAnswer:
        key = shown.new.key
        if shown.status is JobStatus.IN_PROGRESS:
            answer = await self._leases.claim(key, lease_seconds=lease_seconds)
            if isinstance(answer, Missing):
                # Begun by Plexus's own worker, which knows no lease.
                began = records.seconds(shown.record.get("startedAt")) or 0.0
                left = began + self._takeover - self._clock.now()
                if left > 0:
                    return Busy(left)
                log.warning("job %s was begun elsewhere and never ended: taking it over", key.id)
                answer = await self._claim_shown(shown, lease_seconds)
        else:
            answer = await self._claim_shown(shown, lease_seconds)
        if isinstance(answer, Finished):
            if (
                answer.job.status is JobStatus.FAILED
                and shown.status is JobStatus.PENDING
                and await self._redriven_in_plexus(key)
            ):
                return await self._claim(shown, lease_seconds)
            return await self._told_again(answer, shown)
        return await self._marked(answer, shown)

    async def _claim_shown(self, shown: ApiJob, lease_seconds: float) -> ClaimAnswer:
        key = shown.new.key
        try:
            return await self._leases.claim(key, lease_seconds=lease_seconds, new=shown.new)
        except InvalidRequest:
            # One record is one job: it was edited in Plexus, or shows a job that came inline in other words. What this
            # service knew first holds. Without a job here the record cannot be stored at all.
            answer = await self._leases.claim(key, lease_seconds=lease_seconds)
            if isinstance(answer, Missing):
                raise
            return answer

    async def _ended(self, shown: ApiJob) -> Finished | None:
        """Return how a job ended that Plexus shows as ended; None if that is for a claim to find out."""
        job = await self._leases.get(shown.new.key)
        if job is not None and job.status is JobStatus.COMPLETED:
            result = await self._leases.result(job.result_id or "", account=job.account)
            answer = Finished(job, result)
            return answer if shown.status is job.status else await self._told_again(answer, shown)
        if shown.status is JobStatus.COMPLETED:
            result = await self._reader.result_of_job(shown)
            return Finished(shown.job(result.id if result else None), result)
        if job is None:
            return Finished(shown.job(), None)
        return Finished(job, None) if job.status is JobStatus.FAILED else None

    async def _redriven_in_plexus(self, key: JobKey) -> bool:
        """Follow someone who set a FAILED job to PENDING in Plexus."""
        try:
            await self._leases.redrive(key)
        except (InvalidRequest, NotFound):
            return False  # another claimer was faster
        return True

    async def _told_again(self, answer: Finished, shown: ApiJob) -> Finished:
        """Write to Plexus what a crash or an outage kept from it."""
        self._reader.hand_over(shown)
        if answer.result is not None:
            await self._projection.completed(answer.job, answer.result)
        elif answer.job.status is JobStatus.FAILED:
            await self._projection.failed(answer.job)
        return answer

    async def _marked(self, answer: ClaimAnswer, shown: ApiJob | None) -> ClaimAnswer:
        """Show a claimed job as IN_PROGRESS in Plexus before anything else happens to it."""
        if not isinstance(answer, Claimed):
            return answer
        try:
            made = False
            if shown is not None:
                self._reader.hand_over(shown, item=answer.job.item is None)
            else:
                # First here, so that it has no record yet; or a record that is lost.
                made = await self._projection.created(answer.job)
            if (otherwise := await self._claimed_in_plexus(answer)) is not None:
                return otherwise
            done = made or await self._projection.started(answer.job)
        except StoreUnavailable:
            await self._give_back(answer.lease)
            raise
        if done:
            return answer
        return await self._overtaken(answer)

    async def _claimed_in_plexus(self, claimed: Claimed) -> ClaimAnswer | None:
        """Claim the job in Plexus as well; return what comes of it instead, where Plexus has it otherwise."""
        job, lease = claimed.job, claimed.lease
        verdict = await self._claims.claim(job, await self._projection.ticket(job))
        match verdict.state:
            case "ours":
                return None
            case "theirs":
                await self._give_back(lease, delay=OTHERS_CLAIM_SECONDS)
                return Busy(OTHERS_CLAIM_SECONDS)
            case "ended":
                result = await self._reader.result(verdict.result_id, account=job.account)
                if result is None:
                    raise StoreUnavailable(
                        f"Plexus's API, job {job.id}: its result {verdict.result_id} is not there"
                    )
                await self._give_back(lease)
                ended = structs.replace(job, status=JobStatus.COMPLETED, result_id=result.id)
                return Finished(ended, result)
            case "conflict":
                text = f"job {job.id} is bound to another item or score in Plexus: use another id"
                await self.fail(lease, InvalidRequest(text).info())
                failed = await self._leases.get(job.key)
                return Missing() if failed is None else Finished(failed, None)

    async def _overtaken(self, claimed: Claimed) -> ClaimAnswer:
        """Find out why Plexus's record refused: ended elsewhere meanwhile, deleted, or another account's."""
        shown = await self._reader.job(claimed.job.key)
        if shown is not None and shown.status is JobStatus.COMPLETED:
            await self._give_back(claimed.lease)
            result = await self._reader.result_of_job(shown)
            return Finished(shown.job(result.id if result else None), result)
        log.warning(
            "job %s has no record of ours in Plexus: scoring it all the same", claimed.job.id
        )
        return claimed

    async def _marked_or_none(self, claimed: Claimed) -> Claimed | None:
        answer = await self._marked(claimed, await self._reader.job(claimed.job.key))
        return answer if isinstance(answer, Claimed) else None

    async def _give_back(self, lease: Lease, *, delay: float = 0.0) -> None:
        try:
            await self._leases.release(lease, delay=delay, counted=False)
        except (LeaseLost, StoreUnavailable) as error:
            log.warning("job not released, its lease will expire: %s", error)

    async def _projected_job(self, lease: Lease, result: ScoreResult) -> ScoringJob:
        """Return as much of the completed job as Plexus is told, without reading it back."""
        if self._reader.knows(lease.key):
            now = self._clock.now()
            return ScoringJob(
                id=lease.key.id,
                scorecard=result.scorecard,
                score=result.score,
                account=result.account,
                item_id=result.item_id,
                status=JobStatus.COMPLETED,
                created_at=now,
                updated_at=now,
                completed_at=now,
            )
        job = await self._leases.get(lease.key)
        if job is None:  # pragma: no cover  it was completed a moment ago
            raise StoreUnavailable(f"job {lease.key.id} is gone from the lease store")
        return job
