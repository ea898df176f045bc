"""Reads jobs and results that live in Plexus."""

from __future__ import annotations

from typing import Any

import msgspec

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobKey, JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores.codec import is_id, is_key
from plexus_scoring.stores.plexus_api import documents, records
from plexus_scoring.stores.plexus_api.accounts import Accounts
from plexus_scoring.stores.plexus_api.client import GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.handover import Handover, Ticket
from plexus_scoring.stores.plexus_api.records import Record

_PAGE = 500
_MAX_PAGES = 200
_OPEN = (JobStatus.PENDING, JobStatus.IN_PROGRESS)


class ApiJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as Plexus shows it."""

    record: dict[str, Any]
    account: str
    status: JobStatus
    ticket: Ticket
    item: Item | None = None

    @property
    def new(self) -> NewJob:
        """The job as our lease store is to hold it."""
        return records.new_job_of(self.record, account=self.account)

    def job(self, result_id: str | None = None) -> ScoringJob:
        """Return the job as a store would show it."""
        return records.job_of(self.record, account=self.account, result_id=result_id)


class Reader:
    """Queries for jobs and results.

    Args:
        client: The API.
        accounts: Ids of accounts.
        handover: Where what comes along is kept for later steps.
        account: Key of the account whose jobs are seen; None: every account's.
    """

    def __init__(
        self,
        client: GraphQLClient,
        *,
        accounts: Accounts,
        handover: Handover,
        account: str | None,
    ) -> None:
        self._client = client
        self._accounts = accounts
        self._handover = handover
        self._account = account
        self._open_since: dict[str, str] = {}

    async def job(self, key: JobKey) -> ApiJob | None:
        """Return the job with its item; None if there is none of that id in its account, which must be ours."""
        if not is_key(key) or self._account not in (None, key.account):
            return None
        record = await self._record(key.id)
        shown = None if record is None else self._read(record)
        return shown if shown is not None and shown.account == key.account else None

    async def ask(self) -> None:
        """Read a job that does not exist, which tells whether the API answers. Raises as `job`."""
        await self._record("plexus-scoring-check")

    def hand_over(self, job: ApiJob, *, item: bool = False) -> None:
        """Keep what the claim of this job read for its later steps; `item` where the item will be asked for."""
        self._handover.tickets.put(job.new.key, job.ticket)
        if item and job.item is not None:
            self._handover.give_item(job.item)

    def knows(self, key: JobKey) -> bool:
        """Whether the claim's facts about this job are at hand."""
        return self._handover.tickets.get(key) is not None

    async def open_jobs(self, account: str, status: JobStatus) -> list[Record]:
        """Return the account's jobs of an open status, created first first.

        Plexus's index knows account and time only, so ended jobs are read over. Where none is open any more, the next
        call need not begin before: that place is kept until a call finds nothing behind it.
        """
        account_id = await self._accounts.id_of(account)
        since = self._open_since.get(account)
        found = await self._scan(account_id, since)
        if not any(record["status"] == status for record in found) and since is not None:
            # An old job may have been made PENDING again.
            found = await self._scan(account_id, None)
        if found and found[0].get("createdAt"):
            self._open_since[account] = str(found[0]["createdAt"])
        else:
            self._open_since.pop(account, None)
        return [record for record in found if record["status"] == status]

    async def result_of_job(self, job: ApiJob) -> ScoreResult | None:
        """Return the newest result of a job that another worker finished."""
        job_id = str(job.record["id"])
        answer = await self._client.execute(documents.JOB_RESULTS, job=job_id, limit=100)
        if error := answer.error("listScoreResultByScoringJobId"):
            raise unavailable(error, f"reading results of job {job_id}")
        items = (answer.data.get("listScoreResultByScoringJobId") or {}).get("items") or []
        # Another account's job of the same id may have left results under it, too.
        results = [
            records.result_of(item, account=job.account)
            for item in items
            if item and item.get("accountId") == job.record["accountId"]
        ]
        return max(results, key=lambda result: result.created_at, default=None)

    async def result(self, result_id: str, *, account: str) -> ScoreResult | None:
        """Return a result of the account, which must be ours, or None."""
        if not is_id(result_id) or self._account not in (None, account):
            return None
        answer = await self._client.execute(documents.RESULT, id=result_id)
        if error := answer.error("getScoreResult"):
            raise unavailable(error, f"reading result {result_id}")
        record = answer.data.get("getScoreResult")
        key = records.account_key(record) if record else None
        if record is None or key != account:
            return None
        return records.result_of(record, account=account)

    async def _record(self, job_id: str) -> Record | None:
        answer = await self._client.execute(documents.JOB, id=job_id)
        if error := answer.error("getScoringJob"):
            raise unavailable(error, f"reading job {job_id}")
        record: Record | None = answer.data.get("getScoringJob")
        return record

    async def _scan(self, account_id: str, since: str | None) -> list[Record]:
        found: list[Record] = []
        token: str | None = None
        for _ in range(_MAX_PAGES):
            answer = await self._client.execute(
                documents.OPEN_JOBS,
                account=account_id,
                since={"ge": since} if since else None,
                filter={"or": [{"status": {"eq": status.value}} for status in _OPEN]},
                limit=_PAGE,
                next=token,
            )
            field = "listScoringJobByAccountIdAndCreatedAt"
            if error := answer.error(field):
                raise unavailable(error, "listing open jobs")
            page = answer.data.get(field) or {}
            found.extend(record for record in page.get("items") or [] if record)
            token = page.get("nextToken")
            if not token or sum(r["status"] == JobStatus.PENDING for r in found) >= _PAGE:
                break
        return found

    def _read(self, record: Record) -> ApiJob | None:
        account = records.account_key(record)
        if account is None or self._account not in (None, account):
            return None
        account_id = str(record["accountId"])
        self._accounts.learn(account, account_id)
        entry = record.get("item")
        item = None
        # An item of another account is none of this job's, whatever the record says.
        if isinstance(entry, dict) and entry.get("accountId") == account_id:
            item = records.item_of(entry, account=account)
        return ApiJob(
            record=record,
            account=account,
            status=records.status_of(record),
            item=item,
            ticket=Ticket(
                account_id=account_id,
                item_id=str(record["itemId"]),
                scorecard_id=str(record["scorecardId"]),
                score_id=record.get("scoreId") or None,
                item_external_id=item.external_id if item else None,
            ),
        )
