"""Jobs and results in DynamoDB: every transition is one conditional write, some shared with other jobs' (`group`).

The conditions say what ``stores/transitions.py`` says in Python; a refused write brings back the stored
item (ReturnValuesOnConditionCheckFailure), so the reason is known without a second call.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.job import JobKey, JobStatus, Lease, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.ports import AttachmentStore, Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import bounded, encode, is_key, round_trip
from plexus_scoring.stores.dynamodb import rows, table, writes
from plexus_scoring.stores.dynamodb.calls import Attributes, ConditionRefused, Table
from plexus_scoring.stores.dynamodb.claims import JobClaims
from plexus_scoring.stores.dynamodb.documents import Documents
from plexus_scoring.stores.dynamodb.expressions import Expression, Value, number, text
from plexus_scoring.stores.dynamodb.moves import Moved

# Names the call of `redrive` that made the job PENDING again.
_REDRIVEN_BY = "redriven_by"
# A score that is paid for is kept while its job has time: the caller's deadline ends the waiting, or Lambda's.
_COMPLETION_PATIENCE: Final = 900.0


class DynamoDBJobStore(JobClaims):
    """A `JobStore` on one DynamoDB table.

    Args:
        calls: The table.
        clock: Time.
        overflow: Where bodies go that are too large for an item; None: they are refused.
        retention_seconds: How long after their end jobs and results are kept (DynamoDB deletes them some hours
            or days later); None: for ever.
    """

    def __init__(
        self,
        calls: Table,
        *,
        clock: Clock,
        overflow: AttachmentStore | None = None,
        retention_seconds: float | None = None,
    ) -> None:
        super().__init__(calls, Documents(overflow), clock)
        self._retention = retention_seconds

    async def renew(self, lease: Lease, *, lease_seconds: float) -> Lease:
        """Move the lease's end."""
        ends = self._clock.now() + lease_seconds
        try:
            item = await self._transition(lease, {"lease_expires_at": number(ends)})
        except ConditionRefused as refused:
            raise self._lost(refused, lease) from None
        return transitions.lease_of(rows.job_of(item))

    async def complete(self, lease: Lease, result: ScoreResult) -> None:
        """Store the result and COMPLETED in one transaction."""
        transitions.check_result(lease, result)
        now = self._clock.now()
        body = await self._documents.write(result)
        expiry = self._expiry(now)

        async def alone(place: str) -> None:
            parts = writes.completion(place, lease, result, body, now=now, expiry=expiry)
            request = hashlib.sha256(encode([lease.token, now, body, place])).hexdigest()[:36]
            await self._table.transact(parts, token=request, patience=_COMPLETION_PATIENCE)

        parts = writes.completion(
            rows.partition(lease.key), lease, result, body, now=now, expiry=expiry
        )
        try:
            await self._group.run(lease.key, parts, lambda: self._wherever(lease.key, alone))
        except ConditionRefused as refused:
            if not await self._is_repetition(refused.item, lease, result):
                raise self._lost(refused, lease) from None

    async def release(
        self, lease: Lease, *, delay: float, counted: bool, error: ErrorInfo | None = None
    ) -> None:
        """Give the job back."""
        now = self._clock.now()
        values = {
            **rows.state(JobStatus.PENDING, now),
            "not_before": number(transitions.due_after(delay, now=now)),
        }
        if (kept := bounded(error)) is not None:
            values["last_error"] = rows.error_document(kept)
        await self._end(
            lease, values, JobStatus.PENDING, "lease_expires_at", attempts=0 if counted else -1
        )

    async def fail(self, lease: Lease, error: ErrorInfo) -> None:
        """End the job as FAILED."""
        now = self._clock.now()
        values = {
            **rows.state(JobStatus.FAILED, now),
            "completed_at": number(now),
            "last_error": rows.error_document(bounded(error) or error),
            **self._expiry(now),
        }
        await self._end(lease, values, JobStatus.FAILED, "lease_expires_at", table.OPEN_HASH)

    async def redrive(self, key: JobKey) -> ScoringJob:
        """Make a FAILED job PENDING."""
        if not is_key(key):
            raise transitions.missing(key)
        call = transitions.new_token()
        expression = Expression()
        update = expression.set(
            {
                **rows.state(JobStatus.PENDING, self._clock.now()),
                "attempt": number(0),
                "not_before": number(0.0),
                _REDRIVEN_BY: text(call),
                table.OPEN_HASH: rows.open_shard(key.id),
            }
        )
        update += " " + expression.remove("completed_at", "lease_token", table.TTL_ATTRIBUTE)
        condition = (
            f"{expression.equals('status', text(JobStatus.FAILED))} AND "
            f"{expression.equals(table.LISTING_HASH, text(key.account))}"
        )
        request = expression.request(UpdateExpression=update, ConditionExpression=condition)
        try:
            item = await self._wherever(
                key, lambda place: self._table.update(rows.job_key(place), request)
            )
        except ConditionRefused as refused:
            if refused.item is None:
                raise transitions.missing(key) from None
            job = await self._job(refused.item)
            if refused.item.get(_REDRIVEN_BY) == text(call):
                return job  # by our own call, which botocore sent again
            raise transitions.not_redrivable(job) from None
        return await self._job(item)

    async def upgrade(self) -> Moved:
        """Move what the first layout has under an id alone; see `Moves.upgrade`. Needs the right to scan and delete."""
        return await self._moves.upgrade(self._clock)

    async def _transition(
        self, lease: Lease, values: dict[str, Value], *remove: str, attempts: int = 0
    ) -> Attributes:
        """Change a job under its fence."""
        expression = Expression()
        update = expression.set(values)
        if attempts:
            attempt = expression.name("attempt")
            update += f", {attempt} = {attempt} + {expression.value(number(attempts))}"
        update += " " + expression.remove(*remove)
        request = expression.request(
            UpdateExpression=update.rstrip(),
            ConditionExpression=writes.fence(expression, lease),
        )
        return await self._wherever(
            lease.key, lambda place: self._table.update(rows.job_key(place), request)
        )

    async def _end(
        self,
        lease: Lease,
        values: dict[str, Value],
        status: JobStatus,
        *remove: str,
        attempts: int = 0,
    ) -> None:
        """End the attempt; the same call again succeeds."""
        try:
            await self._transition(lease, values, *remove, attempts=attempts)
        except ConditionRefused as refused:
            stored = None if refused.item is None else rows.job_of(refused.item)
            if not transitions.ended_by(stored, lease, status):
                raise self._lost(refused, lease) from None

    async def _is_repetition(
        self, item: Attributes | None, lease: Lease, result: ScoreResult
    ) -> bool:
        stored = None if item is None else rows.job_of(item)
        if not transitions.ended_by(stored, lease, JobStatus.COMPLETED):
            return False
        return await self.result(result.id, account=result.account) == round_trip(result)

    def _expiry(self, now: float) -> dict[str, Value]:
        if self._retention is None:
            return {}
        return {table.TTL_ATTRIBUTE: number(math.ceil(now + self._retention))}

    def _lost(self, refused: ConditionRefused, lease: Lease) -> Exception:
        stored = None if refused.item is None else rows.job_of(refused.item)
        return transitions.lost(stored, lease)
