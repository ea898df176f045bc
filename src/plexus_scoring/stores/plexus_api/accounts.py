"""Which account we work for: keys are what people write, ids what the API's records hold."""

from __future__ import annotations

from plexus_scoring.stores.plexus_api.client import GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.documents import ACCOUNT
from plexus_scoring.stores.plexus_api.errors import Misconfigured


class Accounts:
    """Ids of accounts by their keys, each looked up once."""

    def __init__(self, client: GraphQLClient) -> None:
        self._client = client
        self._ids: dict[str, str] = {}

    def learn(self, key: str, account_id: str) -> None:
        """Keep what another answer told."""
        self._ids[key] = account_id

    async def id_of(self, key: str) -> str:
        """Return the account's id. Raises Misconfigured if no account has this key."""
        known = self._ids.get(key)
        if known is not None:
            return known
        answer = await self._client.execute(ACCOUNT, key=key)
        if error := answer.error("listAccountByKey"):
            raise unavailable(error, "looking up the account")
        items = (answer.data.get("listAccountByKey") or {}).get("items") or []
        if not items:
            raise Misconfigured(
                f"Plexus knows no account with the key {key!r}: check PLEXUS_ACCOUNT_KEY"
            )
        self._ids[key] = account_id = str(items[0]["id"])
        return account_id
