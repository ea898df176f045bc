"""Answers already paid for, beside their job."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from plexus_scoring.model.job import JobKey
from plexus_scoring.model.messages import well_formed
from plexus_scoring.ports import AttachmentStore, Clock
from plexus_scoring.stores.dynamodb import rows, table
from plexus_scoring.stores.dynamodb.calls import Table
from plexus_scoring.stores.dynamodb.documents import Documents
from plexus_scoring.stores.dynamodb.expressions import Expression, number, text

_PREFIX = "CHECKPOINT#"
_KEPT_SECONDS = 7 * 24 * 3600.0


class DynamoDBCheckpoints:
    """`Checkpoints` on the same table; DynamoDB deletes them a week after they were written."""

    def __init__(
        self, calls: Table, *, clock: Clock, overflow: AttachmentStore | None = None
    ) -> None:
        self._table = calls
        self._clock = clock
        self._documents = Documents(overflow)

    async def load(self, key: JobKey) -> dict[str, bytes]:
        """Return all of a job's checkpoints, by name."""
        return {
            row["name"]["S"]: await self._documents.read_bytes(row["body"])
            for row in await self._table.query_all(query(rows.partition(key)))
        }

    async def save(self, key: JobKey, name: str, value: bytes) -> None:
        """Store one."""
        name = well_formed(name)
        place = hashlib.sha256(name.encode()).hexdigest()
        await self._table.put(
            {
                **rows.job_key(key),
                table.SORT_KEY: text(_PREFIX + place),
                "name": text(name),
                "body": await self._documents.write_bytes(value),
                table.TTL_ATTRIBUTE: number(math.ceil(self._clock.now() + _KEPT_SECONDS)),
            }
        )


def query(partition: str) -> dict[str, Any]:
    """Return the query for the checkpoints of the job in a partition."""
    expression = Expression()
    condition = (
        f"{expression.equals(table.PARTITION_KEY, text(partition))} AND begins_with("
        f"{expression.name(table.SORT_KEY)}, {expression.value(text(_PREFIX))})"
    )
    return {"ConsistentRead": True, **expression.request(KeyConditionExpression=condition)}
