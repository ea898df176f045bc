"""Items, scorecards with the history of their versions, and checkpoints in a database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Select, delete, select

from plexus_scoring.model.errors import NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.messages import well_formed
from plexus_scoring.model.scorecard import Scorecard, composed
from plexus_scoring.ports import Clock
from plexus_scoring.stores import select as choose
from plexus_scoring.stores.codec import check_id, decode, encode, is_id, round_trip
from plexus_scoring.stores.sql import schema, upsert
from plexus_scoring.stores.sql.database import Database


class SqlCatalog:
    """A `Catalog` in a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item. Raises NotFound."""
        items: list[Item] = []
        if is_id(item_id):
            query = select(schema.items.c.body).where(schema.items.c.id == item_id)
            bodies = await self._bodies(_visible(query, schema.items.c.owner, account))
            items = [decode(body, Item) for body in bodies]
        return choose.one_item(items, item_id, account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version. Raises NotFound."""
        cards, names = schema.scorecards.c, schema.scorecard_names.c
        query = (
            select(cards.body)
            .join(
                schema.scorecard_names,
                (names.scorecard_id == cards.id) & (names.owner == cards.owner),
            )
            .where(names.name_digest == _digest(composed(reference)))
            .order_by(cards.updated_at)
        )
        bodies = await self._bodies(_visible(query, cards.owner, account))
        return choose.one_scorecard(
            [decode(body, Scorecard) for body in bodies], reference, account
        )

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        row = {
            "id": check_id(item.id, "the item's id"),
            "owner": _owner(item.account_id),
            "body": encode(item).decode(),
        }
        await self._database.write(lambda connection: upsert.replace(connection, schema.items, row))

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a version, make it the newest, and have it answer to its names, in one transaction."""
        check_id(scorecard.id, "the scorecard's id")
        check_id(scorecard.version, "the scorecard's version")
        scorecard = round_trip(scorecard)
        now = self._clock.now()
        key = {"id": scorecard.id, "owner": _owner(scorecard.account_id)}
        content = {"version": scorecard.version, "body": encode(scorecard).decode()}
        names = [
            {"name_digest": digest, "owner": key["owner"], "scorecard_id": scorecard.id}
            for digest in sorted({_digest(name) for name in choose.names(scorecard) if name})
        ]

        def work(connection: Connection) -> None:
            upsert.replace(connection, schema.scorecards, {**key, **content, "updated_at": now})
            upsert.replace(
                connection, schema.scorecard_versions, {**key, **content, "created_at": now}
            )
            columns = schema.scorecard_names.c
            connection.execute(
                delete(schema.scorecard_names).where(
                    columns.scorecard_id == scorecard.id, columns.owner == key["owner"]
                )
            )
            connection.execute(schema.scorecard_names.insert(), names)

        await self._database.write(work)

    async def scorecard_version(
        self, scorecard_id: str, version: str, *, account: str | None = None
    ) -> Scorecard:
        """Return one version of the account's (None: the shared) scorecard. Raises NotFound."""
        columns = schema.scorecard_versions.c
        bodies: Sequence[str] = []
        if is_id(scorecard_id) and is_id(version):
            bodies = await self._bodies(
                select(columns.body).where(
                    columns.id == scorecard_id,
                    columns.version == version,
                    columns.owner == _owner(account),
                )
            )
        if not bodies:
            raise NotFound(f"scorecard {scorecard_id!a} has no version {version!a}")
        return decode(bodies[0], Scorecard)

    async def aclose(self) -> None:
        """Close nothing: the database belongs to the job store beside it."""

    async def _bodies(self, query: Select[str]) -> Sequence[str]:
        return await self._database.read(lambda connection: connection.scalars(query).all())


class SqlCheckpoints:
    """`Checkpoints` in a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def load(self, key: JobKey) -> dict[str, bytes]:
        """Return all of a job's checkpoints, by name."""
        columns = schema.checkpoints.c
        query = select(columns.name, columns.value).where(
            columns.account == key.account, columns.job_id == key.id
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {decode(row.name, str): bytes(row.value) for row in rows}

    async def save(self, key: JobKey, name: str, value: bytes) -> None:
        """Store one."""
        row = {
            "account": check_id(key.account, "the job's account"),
            "job_id": check_id(key.id, "the job's id"),
            "name_digest": _digest(name),
            "created_at": self._clock.now(),
            "name": encode(name).decode(),
            "value": value,
        }
        await self._database.write(
            lambda connection: upsert.replace(connection, schema.checkpoints, row)
        )


def _visible(query: Select[str], owner: ColumnElement[str], account: str | None) -> Select[str]:
    if account is None:
        return query
    return query.where(owner.in_(["", account] if is_id(account) else [""]))


def _owner(account: str | None) -> str:
    return check_id(account, "the account's id") if account else ""


def _digest(name: str) -> str:
    return hashlib.sha256(well_formed(name).encode()).hexdigest()
