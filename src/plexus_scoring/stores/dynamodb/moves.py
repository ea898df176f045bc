"""Moves rows of the first layout: from under an id alone to under account and id.

Each move is one transaction whose conditions name what was read, so a row that changes meanwhile is left for the next
run, and a run that was cut off is run again. Where a job has a row of each layout, the newer layout's holds.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from plexus_scoring.model.job import DEFAULT_ACCOUNT, JobKey, JobStatus
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.ports import Clock
from plexus_scoring.stores import transitions
from plexus_scoring.stores.dynamodb import checkpoints, rows, table, writes
from plexus_scoring.stores.dynamodb.calls import Attributes, ConditionRefused, Table
from plexus_scoring.stores.dynamodb.documents import Documents
from plexus_scoring.stores.dynamodb.expressions import Expression, text

log = logging.getLogger(__name__)

_STATE: Final = ("status", "updated_at", "attempt", "lease_token", "lease_expires_at")


class Moved(msgspec.Struct, frozen=True):
    """What an upgrade did: rows moved, and rows left because a worker was on them. None left: it is done."""

    moved: int = 0
    left: int = 0


class Moves:
    """Moves between the layouts.

    Args:
        calls: The table.
        documents: Reads results' bodies.
    """

    def __init__(self, calls: Table, documents: Documents) -> None:
        self._table = calls
        self._documents = documents

    async def make_way(self, theirs: Attributes, ours: Attributes) -> bool:
        """Store a job of "default" where the first layout has another account's, which moves to its own place.

        Takes no right to delete rows. Returns False if the other job changed meanwhile: then nothing was done.
        """
        result_id = theirs.get("result_id")
        if result_id is not None:
            await self._copy_result(JobKey(rows.account_of(theirs), result_id["S"]))
        replace = {"Put": {"Item": ours, **_unchanged(theirs)}}
        return await self._moved(theirs, replace)

    async def upgrade(self, clock: Clock) -> Moved:
        """Move every row of the first layout, and mark the table when none is left.

        Jobs under a lease that has not ended are left: a worker of the version before may be on them.
        """
        moved = left = 0
        async for item in self._table.scan(_of_the_first_layout()):
            if item[table.SORT_KEY]["S"] == rows.RESULT:
                done = await self._move_result(item)
            else:
                done = await self._move_job(item, now=clock.now())
            moved += done is True
            left += done is False
        if not left:
            await self._table.put(table.current_mark())
        return Moved(moved, left)

    async def _move_job(self, item: Attributes, *, now: float) -> bool | None:
        """Move a job; False: it is at work or changed meanwhile, None: it is where it belongs."""
        job = rows.job_of(item)
        if job.account == DEFAULT_ACCOUNT:
            return None
        if job.status is JobStatus.IN_PROGRESS and not transitions.claimable(job, now=now):
            return False
        old = rows.old_partition(job.key)
        for kept in await self._table.query_all(checkpoints.query(old)):
            await self._table.put({**kept, table.PARTITION_KEY: text(rows.partition(job.key))})
            await self._table.delete({name: kept[name] for name in _KEYS})
        return await self._moved(item, {"Delete": {"Key": rows.job_key(old), **_unchanged(item)}})

    async def _move_result(self, item: Attributes) -> bool | None:
        result = await self._documents.read(item["body"], ScoreResult)
        if result.account == DEFAULT_ACCOUNT:
            return None
        await self._table.put(rows.result_item(result, item["body"]) | _kept_until(item))
        expression = Expression()
        condition = expression.equals("body", item["body"])
        try:
            await self._table.delete(
                {name: item[name] for name in _KEYS},
                condition=expression.request(ConditionExpression=condition),
            )
        except ConditionRefused:
            log.debug("a result of account 'default' has taken the place meanwhile")
        return True

    async def _copy_result(self, key: JobKey) -> None:
        item = await self._table.get(rows.result_key(rows.old_partition(key, rows.RESULT)))
        if item is None:
            return
        result = await self._documents.read(item["body"], ScoreResult)
        if result.account == key.account:
            await self._table.put(rows.result_item(result, item["body"]) | _kept_until(item))

    async def _moved(self, item: Attributes, out: dict[str, Any]) -> bool:
        """Put a job's row at its place, if none is there, and take it out of the old one."""
        home = {**item, **rows.job_key(rows.key_of(item))}
        try:
            await self._table.transact([writes.put_if_absent(home), out])
        except ConditionRefused as refused:
            if 1 in refused.positions:
                return False
            try:
                await self._table.transact([out])
            except ConditionRefused:
                return False
        return True


_KEYS: Final = (table.PARTITION_KEY, table.SORT_KEY)


def _unchanged(item: Attributes) -> dict[str, Any]:
    """Return the condition that a job's row is as it was read."""
    expression = Expression()
    parts = [
        expression.equals(name, item[name])
        if name in item
        else f"attribute_not_exists({expression.name(name)})"
        for name in (table.LISTING_HASH, *_STATE)
    ]
    return {
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **expression.request(ConditionExpression=" AND ".join(parts)),
    }


def _kept_until(item: Attributes) -> Attributes:
    return {name: item[name] for name in (table.TTL_ATTRIBUTE,) if name in item}


def _of_the_first_layout() -> dict[str, Any]:
    """Return the scan for jobs and results that lie under an id alone; those of "default" among them are right."""
    expression = Expression()

    def kind(name: str) -> str:
        prefix = expression.value(text(f"{name}#"))
        return (
            f"({expression.equals(table.SORT_KEY, text(name))} AND "
            f"begins_with({expression.name(table.PARTITION_KEY)}, {prefix}))"
        )

    jobs = (
        f"{kind(rows.JOB)} AND NOT {expression.equals(table.LISTING_HASH, text(DEFAULT_ACCOUNT))}"
    )
    return expression.request(FilterExpression=f"({jobs}) OR {kind(rows.RESULT)}")
