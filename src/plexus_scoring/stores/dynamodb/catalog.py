"""Items and scorecards in DynamoDB, scorecards with the history of their versions."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from plexus_scoring.model.errors import NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.messages import well_formed
from plexus_scoring.model.scorecard import Scorecard, composed
from plexus_scoring.ports import AttachmentStore, Clock
from plexus_scoring.stores import select
from plexus_scoring.stores.codec import check_id, encode, round_trip
from plexus_scoring.stores.dynamodb import table
from plexus_scoring.stores.dynamodb.calls import Attributes, Table
from plexus_scoring.stores.dynamodb.documents import Documents
from plexus_scoring.stores.dynamodb.expressions import Expression, Value, number, text

# Partition keys end at 2,048 bytes; a longer name is looked up by its hash.
_MAX_NAME_BYTES = 1_024


class DynamoDBCatalog:
    """A `Catalog` on the same table.

    An item is one row. A scorecard is a head (the newest version), one row a version, and one pointer for
    each of its names. A pointer that no longer holds is told by the head and passed over.
    """

    def __init__(
        self, calls: Table, *, clock: Clock, overflow: AttachmentStore | None = None
    ) -> None:
        self._table = calls
        self._clock = clock
        self._documents = Documents(overflow)

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item. Raises NotFound."""
        rows = await self._visible(_partition("ITEM", item_id), account)
        items = await asyncio.gather(*(self._documents.read(row["body"], Item) for row in rows))
        return select.one_item(items, item_id, account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version: one query for what has the name, one read of those heads."""
        pointers = await self._visible(_partition("SCORECARDREF", composed(reference)), account)
        heads = await self._table.get_many(
            [_head(row["scorecard_id"]["S"], row["owner"]["S"]) for row in pointers]
        )
        heads.sort(key=lambda row: float(row["created_at"]["N"]))
        cards = await asyncio.gather(
            *(self._documents.read(head["body"], Scorecard) for head in heads)
        )
        return select.one_scorecard(cards, reference, account)

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        check_id(item.id, "the item's id")
        owner = _owner(item.account_id)
        await self._table.put(
            {
                **_key(_partition("ITEM", item.id), f"OWNER#{owner}"),
                "owner": text(owner),
                "body": await self._documents.write(item),
            }
        )

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a version, make it the newest, and point all of its names to it, in one transaction."""
        check_id(scorecard.id, "the scorecard's id")
        scorecard = round_trip(scorecard)
        owner = _owner(scorecard.account_id)
        about = {
            "created_at": number(self._clock.now()),
            "owner": text(owner),
            "scorecard_id": text(scorecard.id),
        }
        body = await self._documents.write(scorecard)
        contents = [
            {**_head(scorecard.id, owner), **about, "body": body},
            {**_version(scorecard.id, owner, scorecard.version), **about, "body": body},
        ]
        place = hashlib.sha256(encode([owner, scorecard.id])).hexdigest()
        pointers = [
            {**_key(_partition("SCORECARDREF", name), place), **about}
            for name in dict.fromkeys(filter(None, select.names(scorecard)))
        ]
        await self._table.transact([{"Put": {"Item": row}} for row in contents + pointers])

    async def scorecard_version(
        self, scorecard_id: str, version: str, *, account: str | None = None
    ) -> Scorecard:
        """Return one version of the account's (None: the shared) scorecard. Raises NotFound."""
        row = await self._table.get(_version(scorecard_id, _owner(account), version))
        if row is None:
            raise NotFound(f"scorecard {scorecard_id!r} has no version {version!r}")
        return await self._documents.read(row["body"], Scorecard)

    async def aclose(self) -> None:
        """Close nothing: client and threads belong to whoever made them."""

    async def _visible(self, partition: Value, account: str | None) -> list[Attributes]:
        """Return the rows of a partition that the account may see."""
        expression = Expression()
        query: dict[str, Any] = {
            "ConsistentRead": True,
            **expression.request(
                KeyConditionExpression=expression.equals(table.PARTITION_KEY, partition)
            ),
        }
        rows = await self._table.query_all(query)
        owners = {_owner(None), _owner(account)}
        return [row for row in rows if account is None or row["owner"]["S"] in owners]


def _owner(account: str | None) -> str:
    return well_formed(account or "")


def _partition(kind: str, name: str) -> Value:
    name = well_formed(name)
    if len(name.encode()) > _MAX_NAME_BYTES:
        name = hashlib.sha256(name.encode()).hexdigest()
    return text(f"{kind}#{name}")


def _head(scorecard_id: str, owner: str) -> Attributes:
    return _key(_partition("SCORECARD", scorecard_id), f"HEAD#{owner}")


def _version(scorecard_id: str, owner: str, version: str) -> Attributes:
    return _key(_partition("SCORECARD", scorecard_id), f"VERSION#{version}#{owner}")


def _key(partition: Value, sort: str) -> Attributes:
    return {table.PARTITION_KEY: partition, table.SORT_KEY: text(sort)}
