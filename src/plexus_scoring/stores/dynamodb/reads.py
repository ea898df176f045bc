"""Reading jobs and results."""

from __future__ import annotations

import asyncio
import logging

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import (
    DEFAULT_ACCOUNT,
    JobKey,
    JobPage,
    JobStatus,
    NewJob,
    ScoringJob,
)
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.ports import Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import is_key, memo_key
from plexus_scoring.stores.dynamodb import rows
from plexus_scoring.stores.dynamodb.calls import Attributes, Table
from plexus_scoring.stores.dynamodb.documents import Documents
from plexus_scoring.stores.dynamodb.layout import Layout
from plexus_scoring.stores.dynamodb.listing import Listing
from plexus_scoring.stores.dynamodb.setup import check_table

log = logging.getLogger(__name__)


class JobReads:
    """The half of the job store that changes nothing."""

    def __init__(self, calls: Table, documents: Documents, clock: Clock) -> None:
        self._table = calls
        self._documents = documents
        self._clock = clock
        self._listing = Listing(calls)
        self._layout = Layout(calls, clock)

    async def get(self, key: JobKey) -> ScoringJob | None:
        """Return the job, or None."""
        if not is_key(key):
            return None
        item = await self._table.get(rows.job_key(key))
        if not rows.is_of(item, key):
            item = await self._old_job(key)
        return None if item is None else await self._job(item)

    async def result(self, result_id: str, *, account: str = DEFAULT_ACCOUNT) -> ScoreResult | None:
        """Return a result, or None."""
        key = JobKey(account, result_id)
        if not is_key(key):
            return None
        found = await self._result(rows.result_key(key), account)
        if found is None and await self._layout.may_be_old(key):
            found = await self._result(
                rows.result_key(rows.old_partition(key, rows.RESULT)), account
            )
        return found

    async def list_jobs(
        self,
        status: JobStatus,
        *,
        account: str = DEFAULT_ACCOUNT,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = True,
    ) -> JobPage:
        """Return one page. A job that changed its status since the index was written is left out."""
        places, following = await self._listing.page(
            status, account=account, limit=limit, cursor=cursor, oldest_first=oldest_first
        )
        jobs = [job for job in await self._jobs(places) if job.status is status]
        return JobPage(tuple(jobs), following)

    async def list_stranded(
        self, *, pending_older_than: float, limit: int = 100, account: str | None = None
    ) -> tuple[ScoringJob, ...]:
        """Return jobs that nobody seems to be coming for, oldest first.

        What lies in an attachment is not read: the content of such a job is empty.
        """
        now = self._clock.now()
        places = await self._listing.stranded(
            account=account, now=now, pending_older_than=pending_older_than, limit=limit
        )
        items = await self._table.get_many([rows.job_key(place) for place in places])
        by_place = {rows.partition_of(item): item for item in items}
        jobs = [await self._lean_job(by_place[place]) for place in places if place in by_place]
        return tuple(
            job
            for job in jobs
            if transitions.stranded(job, now=now, pending_older_than=pending_older_than)
        )

    async def find_result(
        self, *, item_digest: str, score_version: str, score: str, account: str = DEFAULT_ACCOUNT
    ) -> ScoreResult | None:
        """Return the account's newest stored result of the same content, score and version."""
        memo = memo_key(
            item_digest=item_digest, score_version=score_version, score=score, account=account
        )
        key = await self._listing.newest_result(str(memo))
        return None if key is None else await self._result(key, account)

    async def check(self) -> str:
        """Return the table's name if it is there with its indexes. Raises StoreUnavailable, ConfigurationError."""
        await check_table(self._table)
        return f"table {self._table.name}"

    async def aclose(self) -> None:
        """Close nothing: client and threads belong to whoever made them."""

    async def _jobs(self, places: list[str]) -> list[ScoringJob]:
        items = await self._table.get_many([rows.job_key(place) for place in places])
        by_place = {rows.partition_of(item): item for item in items}
        return await asyncio.gather(
            *(self._job(by_place[place]) for place in places if place in by_place)
        )

    async def _old_job(self, key: JobKey) -> Attributes | None:
        """Return the job's row of the first layout, or None."""
        if not await self._layout.may_be_old(key):
            return None
        item = await self._table.get(rows.job_key(rows.old_partition(key)))
        return item if rows.is_of(item, key) else None

    async def _job(self, item: Attributes) -> ScoringJob:
        body = await self._documents.read(item["body"], NewJob)
        return transitions.public(rows.job_of(item, body))

    async def _lean_job(self, item: Attributes) -> ScoringJob:
        """Return a job by what its row tells; one whose content cannot be read without it."""
        if self._documents.is_beside(item["body"]):
            return transitions.public(rows.job_of(item))
        try:
            return await self._job(item)
        except StoreUnavailable as error:
            key = rows.key_of(item)
            log.warning("job %s of %s: content not read: %s", key.id, key.account, error.message)
            return transitions.public(rows.job_of(item))

    async def _result(self, key: Attributes, account: str) -> ScoreResult | None:
        item = await self._table.get(key)
        if item is None:
            return None
        result = await self._documents.read(item["body"], ScoreResult)
        return result if result.account == account else None
