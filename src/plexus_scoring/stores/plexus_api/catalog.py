"""Items and scorecards that live in Plexus, and beside them those that were given to this service."""

from __future__ import annotations

import asyncio
from unicodedata import normalize

from plexus_scoring.model.errors import NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard, composed
from plexus_scoring.ports import Catalog, Clock
from plexus_scoring.stores import select
from plexus_scoring.stores.codec import check_id, is_id
from plexus_scoring.stores.plexus_api import documents, records
from plexus_scoring.stores.plexus_api.accounts import Accounts
from plexus_scoring.stores.plexus_api.client import GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.compose import champions_of, compose
from plexus_scoring.stores.plexus_api.handover import Bounded, Handover
from plexus_scoring.stores.plexus_api.records import Record
from plexus_scoring.stores.plexus_api.versions import Versions

_MAX_COMPOSED = 64


class PlexusApiCatalog:
    """A `Catalog` over Plexus's API.

    Plexus goes first. Scorecards are written in Plexus, so `put_scorecard` stores beside it; `put_item` makes an Item
    in Plexus where an Item can hold it, else stores beside it.

    Args:
        client: The API.
        beside: A catalog of our own.
        accounts: Ids of accounts.
        versions: The score versions.
        handover: What the job's claim already read.
        account: Key of the account whose records are read; None: every account's.
        clock: Time.
    """

    def __init__(
        self,
        client: GraphQLClient,
        beside: Catalog,
        *,
        accounts: Accounts,
        versions: Versions,
        handover: Handover,
        account: str | None,
        clock: Clock,
    ) -> None:
        self._client = client
        self._beside = beside
        self._accounts = accounts
        self._versions = versions
        self._handover = handover
        self._account = account
        self._clock = clock
        self._composed: Bounded[tuple[str, ...], Scorecard] = Bounded(_MAX_COMPOSED)

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item. Raises NotFound, also for an item of another account."""
        account = account or self._account
        found = self._handover.take_item(item_id)
        if found is None or account not in (None, found.account_id):
            found = await self._read_item(item_id, account)
        if found is not None and found.text is not None and account is not None:
            return found
        try:
            stored = await self._beside.item(item_id, account=account)
        except NotFound:
            if found is None:
                raise
            return found
        # Without an account an id may mean several items; with one, a record without text has it beside.
        return (
            select.one_item([found, stored], item_id, account) if found and not account else stored
        )

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version. Raises NotFound, ScorecardError."""
        account = account or self._account
        structure = await self._structure(reference, account)
        if structure is None:
            return await self._beside.scorecard(reference, account=account)
        champions = champions_of(structure)
        key = (repr(structure), *champions)
        scorecard = self._composed.get(key)
        if scorecard is None:
            configurations = await self._versions.configurations(champions)
            account_key = records.account_key(structure)
            # In a thread: it parses YAML, which takes seconds where that is long.
            scorecard = await asyncio.to_thread(
                compose, structure, configurations, account=account_key
            )
            self._composed.put(key, scorecard)
        for score in scorecard.scores:
            if score.version:
                for name in filter(None, (score.id, score.name, score.key, score.external_id)):
                    self._handover.champions.put((scorecard.version, name), score.version)
        return scorecard

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        check_id(item.id, "the item's id")
        key = item.account_id or self._account
        if key is None or not await self._write_item(item, key):
            await self._beside.put_item(item)

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a scorecard beside Plexus; one of Plexus's that answers to the same name goes before it."""
        await self._beside.put_scorecard(scorecard)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()
        await self._beside.aclose()

    async def _read_item(self, item_id: str, account: str | None) -> Item | None:
        if not is_id(item_id):
            return None
        answer = await self._client.execute(documents.ITEM, id=item_id)
        if error := answer.error("getItem"):
            raise unavailable(error, f"reading item {item_id}")
        record = answer.data.get("getItem")
        if record is None:
            return None
        owner = records.account_key(record)
        if account not in (None, owner):
            return None
        return records.item_of(record, account=owner)

    async def _write_item(self, item: Item, key: str) -> bool:
        """Whether the API holds the whole item now."""
        metadata = records.awsjson(item.metadata)
        text = item.text
        whole = (
            text is not None and metadata is not None and records.fits(text, records.MAX_TEXT_BYTES)
        )
        account_id = await self._accounts.id_of(key)
        values = {
            "id": item.id,
            "text": text if whole else None,
            "metadata": metadata,
            "externalId": item.external_id or None,
        }
        created = {
            **records.without_nothing(values),
            "accountId": account_id,
            "isEvaluation": False,
            "createdByType": "prediction",
            "createdAt": records.timestamp(self._clock.now()),
        }
        answer = await self._client.execute(documents.CREATE_ITEM, item=created)
        error = answer.error("item")
        if error is not None and error.condition_refused:
            answer = await self._client.execute(
                documents.UPDATE_ITEM, item=values, condition={"accountId": {"eq": account_id}}
            )
            error = answer.error("item")
        if error is not None and error.condition_refused:
            return False  # the id is another account's
        if error is not None:
            raise unavailable(error, f"writing item {item.id}")
        return whole

    async def _structure(self, reference: str, account: str | None) -> Record | None:
        """Return the record that the reference means: id before key, external id and name; the account's own only."""
        # Its API finds names as they were written: in Unicode's composed form, or not.
        forms = dict.fromkeys([reference, composed(reference), normalize("NFD", reference)])
        for name in forms if is_id(reference) else ():
            if (found := await self._named(name, account)) is not None:
                return found
        return None

    async def _named(self, reference: str, account: str | None) -> Record | None:
        answer = await self._client.execute(
            documents.SCORECARD, reference=reference, id=reference, many=documents.MANY
        )
        found: list[Record | None] = []
        for field in ("byId", "byKey", "byExternalId", "byName"):
            if error := answer.error(field):
                raise unavailable(error, f"reading scorecard {reference}")
            value = answer.data.get(field)
            found.extend([value] if field == "byId" else (value or {}).get("items") or [])
        return next(
            (
                record
                for record in found
                if record and account in (None, records.account_key(record))
            ),
            None,
        )
