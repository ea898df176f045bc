"""How a job comes into the table and under a lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from plexus_scoring.model.job import (
    ClaimAnswer,
    Claimed,
    Finished,
    JobKey,
    JobStatus,
    Missing,
    NewJob,
    ScoringJob,
)
from plexus_scoring.ports import Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import is_key, round_trip
from plexus_scoring.stores.content import content_digest, other_content
from plexus_scoring.stores.dynamodb import rows, writes
from plexus_scoring.stores.dynamodb.calls import Attributes, ConditionRefused, Conflict, Table
from plexus_scoring.stores.dynamodb.documents import JOB_INLINE_BYTES, Documents
from plexus_scoring.stores.dynamodb.expressions import Value
from plexus_scoring.stores.dynamodb.group import GroupCommit
from plexus_scoring.stores.dynamodb.moves import Moves
from plexus_scoring.stores.dynamodb.reads import JobReads

Answer = TypeVar("Answer")

_CLAIM_ROUNDS = 3


class JobClaims(JobReads):
    """The part of the job store that creates and takes jobs."""

    def __init__(self, calls: Table, documents: Documents, clock: Clock) -> None:
        super().__init__(calls, documents, clock)
        self._group = GroupCommit(calls)
        self._moves = Moves(calls, documents)

    async def create(self, job: NewJob) -> ScoringJob:
        """Store a PENDING job, or return what is stored."""
        created = round_trip(transitions.created(job, now=self._clock.now()))
        item = rows.pending(created, await self._body(job))
        old = await self._old_job(job.key)
        stored = (
            await self._put(item)
            if old is None
            else await self._table.get(rows.job_key(job.key)) or old
        )
        while stored is not None and not rows.is_of(stored, job.key):
            if await self._moves.make_way(stored, item):
                return created
            stored = await self._put(item)
        if stored is None:
            return created
        await self._check_content(stored, job)
        return await self._job(stored)

    async def claim(
        self, key: JobKey, *, lease_seconds: float, new: NewJob | None = None
    ) -> ClaimAnswer:
        """Take the job if it may be taken: one UpdateItem, which with `new` also creates it."""
        now, token = self._clock.now(), transitions.new_token()
        job = None
        if new is not None:
            transitions.check_key(key, new)
            job = transitions.created(new, now=now)
        elif not is_key(key):
            return Missing()
        taken = writes.taken(key, now=now, token=token, lease_seconds=lease_seconds)
        if new is not None and job is not None:
            old = await self._old_job(key)
            if old is None:
                return await self._claim_new(job, new, taken, now=now, token=token)
            await self._check_content(old, new)
        request = writes.claim(taken, None, account=key.account, now=now)
        try:
            item = await self._wherever(
                key, lambda place: self._table.update(rows.job_key(place), request)
            )
        except ConditionRefused as refused:
            if refused.item is None:
                return Missing()
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
            for key in candidates:
                answer = await self.claim(key, lease_seconds=lease_seconds)
                if isinstance(answer, Claimed):
                    return answer
            if not candidates:
                return None
        return None

    async def _claim_new(
        self, job: ScoringJob, new: NewJob, taken: writes.Attribute, *, now: float, token: str
    ) -> ClaimAnswer:
        key = job.key
        body = await self._body(new)
        created = writes.creation(job, body)
        unmarked = False
        for _ in range(_CLAIM_ROUNDS):
            try:
                return await self._claimed(
                    await self._take(key, taken, created, now=now, unmarked=unmarked)
                )
            except ConditionRefused as refused:
                stored = refused.item
            if stored is None:
                unmarked = False  # the row was deleted since it was compared
                continue
            if not rows.is_of(stored, key):
                await self._moves.make_way(stored, rows.pending(job, body))
                continue
            await self._check_content(stored, new)
            unmarked = rows.CONTENT not in stored
            if not (unmarked and transitions.claimable(rows.job_of(stored), now=now)):
                return await self._refusal(stored, now=now, token=token)
        raise Conflict(f"DynamoDB table {self._table.name}: job {key.id} changes too often")

    async def _take(
        self,
        key: JobKey,
        taken: writes.Attribute,
        created: writes.Attribute,
        *,
        now: float,
        unmarked: bool,
    ) -> Attributes:
        """Take a job that is most likely not stored yet: with others' writes where some are waiting."""

        async def alone() -> Attributes:
            request = writes.claim(taken, created, account=key.account, now=now, unmarked=unmarked)
            return await self._table.update(rows.job_key(key), request)

        if unmarked:
            return await alone()
        item = writes.first_claim(key, taken, created)
        stored: Attributes | None = await self._group.run(key, [writes.put_if_absent(item)], alone)
        return item if stored is None else stored

    async def _wherever(self, key: JobKey, act: Callable[[str], Awaitable[Answer]]) -> Answer:
        """Change a job under a condition in its partition; one that is not there, in its old one.

        Raises ConditionRefused, with None in place of a row of another account.
        """
        places = [rows.partition(key), rows.old_partition(key)]
        for place in places:
            try:
                return await act(place)
            except ConditionRefused as refused:
                found = rows.is_of(refused.item, key)
                if place == places[1] or found or not await self._layout.may_be_old(key):
                    raise ConditionRefused(refused.item if found else None) from None
        raise AssertionError  # pragma: no cover  the last place answered or raised

    async def _put(self, item: Attributes) -> Attributes | None:
        """Put a job where none is, or return the one that is there."""
        try:
            await self._table.put(item, condition=writes.absent())
        except ConditionRefused as refused:
            return refused.item
        return None

    async def _check_content(self, stored: Attributes, new: NewJob) -> None:
        """Raise InvalidRequest unless the stored job has the content of the new one."""
        kept = stored.get(rows.CONTENT)
        digest = content_digest(await self._job(stored)) if kept is None else kept["S"]
        if digest != content_digest(new):
            raise other_content(new.id)

    async def _refusal(self, item: Attributes, *, now: float, token: str) -> ClaimAnswer:
        state = rows.job_of(item)
        if state.status is JobStatus.IN_PROGRESS and state.lease_token == token:
            return await self._claimed(item)  # our own call, sent again by botocore
        refusal = transitions.refusal(state, now=now)
        if refusal is not None:
            return refusal
        job = await self._job(item)
        if job.result_id is None:
            return Finished(job, None)
        return Finished(job, await self.result(job.result_id, account=job.account))

    async def _claimed(self, item: Attributes) -> Claimed:
        job = await self._job(item)
        return Claimed(job, transitions.lease_of(job))

    async def _body(self, job: NewJob) -> Value:
        return await self._documents.write(job, inline_bytes=JOB_INLINE_BYTES)
