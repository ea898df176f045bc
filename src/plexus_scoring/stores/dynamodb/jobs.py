"""Jobs and results in DynamoDB: every transition is one conditional write, some shared with other jobs' (`group`).

The conditions say what ``stores/transitions.py`` says in Python; a refused write brings back the stored
item (ReturnValuesOnConditionCheckFailure), so the reason is known without a second call.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound
from plexus_scoring.model.job import (
    ClaimAnswer,
    Claimed,
    Finished,
    JobStatus,
    Lease,
    Missing,
    NewJob,
    ScoringJob,
)
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.ports import AttachmentStore, Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import bounded, encode, is_id, round_trip
from plexus_scoring.stores.dynamodb import rows, table, writes
from plexus_scoring.stores.dynamodb.calls import Attributes, ConditionRefused, Table
from plexus_scoring.stores.dynamodb.documents import JOB_INLINE_BYTES, Documents
from plexus_scoring.stores.dynamodb.expressions import Expression, Value, number, text
from plexus_scoring.stores.dynamodb.group import GroupCommit
from plexus_scoring.stores.dynamodb.reads import JobReads

_CLAIM_ROUNDS = 3
# Names the call of `redrive` that made the job PENDING again.
_REDRIVEN_BY = "redriven_by"


class DynamoDBJobStore(JobReads):
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
        self._group = GroupCommit(calls)

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job, or return what is stored."""
        created = round_trip(transitions.created(job, now=self._clock.now()))
        item = {
            **rows.job_key(created.id),
            **rows.creation(created, await self._body(job)),
            **rows.state(JobStatus.PENDING, created.updated_at),
            "attempt": number(0),
            "not_before": number(created.not_before),
            table.OPEN_HASH: rows.open_shard(created.id),
        }
        condition = Expression()
        absent = f"attribute_not_exists({condition.name(table.PARTITION_KEY)})"
        try:
            await self._table.put(item, condition=condition.request(ConditionExpression=absent))
        except ConditionRefused as refused:
            if (
                refused.item is None
            ):  # pragma: no cover  DynamoDB always sends what it compared with
                raise
            return await self._job(refused.item)
        return created

    async def claim(
        self, job_id: str, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it may be taken: one UpdateItem, which with `new` also creates it."""
        if new is None and not is_id(job_id):
            return Missing()
        now, token = self._clock.now(), transitions.new_token()
        created = None
        if new is not None:
            if new.id != job_id:
                raise InvalidRequest(f"the new job's id is {new.id}, not {job_id}")
            job = transitions.created(new, now=now)
            created = writes.creation(job, await self._body(new))
        taken = writes.taken(job_id, now=now, token=token, lease_seconds=lease_seconds)

        async def take() -> Attributes:
            request = writes.claim(taken, created, now=now)
            return await self._table.update(rows.job_key(job_id), request)

        try:
            if created is None:
                item = await take()
            else:
                item = await self._take_first(job_id, taken, created, take)
        except ConditionRefused as refused:
            return await self._refusal(refused.item, now=now, token=token)
        return await self._claimed(item)

    async def claim_oldest(
        self, *, account: str | None = None, lease_seconds: float
    ) -> Claimed | None:
        """Claim the PENDING, due job that was created first, as far as the index knows by now.

        The index lags a little and others claim too: a job that is gone is passed over for the next.
        """
        for _ in range(_CLAIM_ROUNDS):
            candidates = await self._listing.due(account=account, now=self._clock.now())
            for job_id in candidates:
                answer = await self.claim(job_id, lease_seconds=lease_seconds)
                if isinstance(answer, Claimed):
                    return answer
            if not candidates:
                return None
        return None

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
        parts = writes.completion(lease, result, body, now=now, expiry=self._expiry(now))
        request = hashlib.sha256(encode([lease.token, now, body])).hexdigest()[:36]
        try:
            await self._group.run(
                lease.job_id, parts, lambda: self._table.transact(parts, token=request)
            )
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

    async def redrive(self, job_id: str) -> ScoringJob:
        """Make a FAILED job PENDING."""
        if not is_id(job_id):
            raise NotFound(f"job {job_id!a} does not exist")
        call = transitions.new_token()
        expression = Expression()
        update = expression.set(
            {
                **rows.state(JobStatus.PENDING, self._clock.now()),
                "attempt": number(0),
                "not_before": number(0.0),
                _REDRIVEN_BY: text(call),
                table.OPEN_HASH: rows.open_shard(job_id),
            }
        )
        update += " " + expression.remove("completed_at", "lease_token", table.TTL_ATTRIBUTE)
        condition = expression.equals("status", text(JobStatus.FAILED))
        try:
            item = await self._table.update(
                rows.job_key(job_id),
                expression.request(UpdateExpression=update, ConditionExpression=condition),
            )
        except ConditionRefused as refused:
            if refused.item is None:
                raise NotFound(f"job {job_id} does not exist") from None
            job = await self._job(refused.item)
            if refused.item.get(_REDRIVEN_BY) == text(call):
                return job  # by our own call, which botocore sent again
            raise transitions.not_redrivable(job) from None
        return await self._job(item)

    async def _take_first(
        self,
        job_id: str,
        taken: writes.Attribute,
        created: writes.Attribute,
        take: Callable[[], Awaitable[Attributes]],
    ) -> Attributes:
        """Take a job that is most likely not stored yet: with others' writes where some are waiting."""
        item = writes.first_claim(job_id, taken, created)
        stored: Attributes | None = await self._group.run(
            job_id, [writes.put_if_absent(item)], take
        )
        return item if stored is None else stored

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
        return await self._table.update(
            rows.job_key(lease.job_id),
            expression.request(
                UpdateExpression=update.rstrip(),
                ConditionExpression=writes.fence(expression, lease),
            ),
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
        return await self.result(result.id) == round_trip(result)

    async def _refusal(self, item: Attributes | None, *, now: float, token: str) -> ClaimAnswer:
        if item is None:
            return Missing()
        state = rows.job_of(item)
        if state.status is JobStatus.IN_PROGRESS and state.lease_token == token:
            return await self._claimed(item)  # our own call, sent again by botocore
        refusal = transitions.refusal(state, now=now)
        if refusal is not None:
            return refusal
        job = await self._job(item)
        return Finished(job, await self.result(job.result_id) if job.result_id else None)

    async def _claimed(self, item: Attributes) -> Claimed:
        job = await self._job(item)
        return Claimed(job, transitions.lease_of(job))

    async def _body(self, job: NewJob) -> Value:
        return await self._documents.write(job, inline_bytes=JOB_INLINE_BYTES)

    def _expiry(self, now: float) -> dict[str, Value]:
        if self._retention is None:
            return {}
        return {table.TTL_ATTRIBUTE: number(math.ceil(now + self._retention))}

    def _lost(self, refused: ConditionRefused, lease: Lease) -> Exception:
        stored = None if refused.item is None else rows.job_of(refused.item)
        return transitions.lost(stored, lease)
