"""Which jobs an index knows of. Indexes lag behind the table: what they name is looked at again there."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

from plexus_scoring.model.job import JobKey, JobStatus
from plexus_scoring.stores import cursor as cursors
from plexus_scoring.stores.codec import is_id
from plexus_scoring.stores.dynamodb import rows, table
from plexus_scoring.stores.dynamodb.calls import Attributes, Table
from plexus_scoring.stores.dynamodb.expressions import Expression, number, text

_DUE_PER_SHARD = 5
_PAGE = 200


class Listing:
    """Queries of the indexes."""

    def __init__(self, calls: Table) -> None:
        self._table = calls

    async def page(
        self,
        status: JobStatus,
        *,
        account: str,
        limit: int,
        cursor: str | None,
        oldest_first: bool,
    ) -> tuple[list[str], str | None]:
        """Return the partitions of one page's jobs and the next page's cursor."""
        if not is_id(account):
            return [], None
        listing = cursors.listing_of(status, account, oldest_first=oldest_first)
        expression = Expression()
        condition = (
            f"{expression.equals(table.LISTING_HASH, text(account))} AND begins_with("
            f"{expression.name(table.LISTING_RANGE)}, {expression.value(text(f'{status}#'))})"
        )
        query: dict[str, Any] = {
            "IndexName": table.LISTING_INDEX,
            "Limit": limit,
            "ScanIndexForward": oldest_first,
            **expression.request(KeyConditionExpression=condition),
        }
        if cursor is not None:
            after = cursors.read(cursor, listing)
            query["ExclusiveStartKey"] = {
                **rows.job_key(after.job_id),
                table.LISTING_HASH: text(account),
                table.LISTING_RANGE: text(rows.status_time(status, after.updated_at)),
            }
        items, following = await self._table.query(query)
        if following is None:
            return [rows.partition_of(item) for item in items], None
        updated_at = float(following[table.LISTING_RANGE]["S"].partition("#")[2])
        return (
            [rows.partition_of(item) for item in items],
            cursors.write(listing, updated_at, rows.partition_of(following)),
        )

    async def due(self, *, account: str | None, now: float) -> list[JobKey]:
        """Return some keys of PENDING, due jobs, the oldest first."""
        expression = Expression()
        conditions = [
            expression.equals("status", text(JobStatus.PENDING)),
            expression.at_most("not_before", number(now)),
        ]
        items = await self._open(expression, conditions, account=account, limit=_DUE_PER_SHARD)
        return [rows.key_of(item) for item in items]

    async def stranded(
        self, *, account: str | None, now: float, pending_older_than: float, limit: int
    ) -> list[str]:
        """Return the partitions of jobs that nobody seems to be coming for, the oldest first."""
        expression = Expression()
        pending = " AND ".join(
            (
                expression.equals("status", text(JobStatus.PENDING)),
                expression.at_most("not_before", number(now)),
                expression.at_most("updated_at", number(now - pending_older_than)),
            )
        )
        expired = " AND ".join(
            (
                expression.equals("status", text(JobStatus.IN_PROGRESS)),
                expression.at_most("lease_expires_at", number(now)),
            )
        )
        conditions = [f"(({pending}) OR ({expired}))"]
        items = await self._open(expression, conditions, account=account, limit=limit)
        return [rows.partition_of(item) for item in items[:limit]]

    async def newest_result(self, memo: str) -> Attributes | None:
        """Return the key of the newest result under a memo key."""
        expression = Expression()
        items, _ = await self._table.query(
            {
                "IndexName": table.MEMO_INDEX,
                "Limit": 1,
                "ScanIndexForward": False,
                **expression.request(
                    KeyConditionExpression=expression.equals(table.MEMO_HASH, text(memo))
                ),
            }
        )
        if not items:
            return None
        return {key: items[0][key] for key in (table.PARTITION_KEY, table.SORT_KEY)}

    async def _open(
        self, expression: Expression, conditions: list[str], *, account: str | None, limit: int
    ) -> list[Attributes]:
        """Return the index entries of open jobs for which the conditions hold, at least `limit` if there are."""
        if account is not None:
            if not is_id(account):
                return []
            conditions = [expression.equals(table.LISTING_HASH, text(account)), *conditions]
        shards = await asyncio.gather(
            *(
                self._shard(expression.copy(), shard, " AND ".join(conditions), limit)
                for shard in range(table.OPEN_SHARDS)
            )
        )
        return list(heapq.merge(*shards, key=_by_age))

    async def _shard(
        self, expression: Expression, shard: int, conditions: str, limit: int
    ) -> list[Attributes]:
        key = expression.equals(table.OPEN_HASH, text(f"OPEN#{shard}"))
        query: dict[str, Any] = {
            "IndexName": table.OPEN_INDEX,
            "Limit": _PAGE,
            **expression.request(KeyConditionExpression=key, FilterExpression=conditions),
        }
        found: list[Attributes] = []
        while True:
            items, following = await self._table.query(query)
            found += sorted(items, key=_by_age)
            if following is None or len(found) >= limit:
                return found[:limit]
            query["ExclusiveStartKey"] = following


def _by_age(item: Attributes) -> tuple[float, JobKey]:
    return float(item["created_at"]["N"]), rows.key_of(item)
