"""Which stored item or scorecard a reference means.

An entry without an account belongs to all; one with an account is seen by that account only, and goes
before one without. A caller that names no account sees every entry that is not ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from plexus_scoring.model.errors import InvalidRequest, NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard, composed

Entry = TypeVar("Entry", Item, Scorecard)


def one_item(candidates: Iterable[Item], item_id: str, account: str | None) -> Item:
    """Return the item among those with the id. Raises NotFound, InvalidRequest (ambiguous)."""
    return _own_or_shared(list(candidates), f"item {item_id!r}", account)


def one_scorecard(
    candidates: Sequence[Scorecard], reference: str, account: str | None
) -> Scorecard:
    """Return the scorecard that answers to `reference`: id before key, external id and name.

    `candidates` are heads, the newest last. Raises NotFound, InvalidRequest (several accounts have one).
    """
    visible = [card for card in candidates if account is None or card.account_id in (None, account)]
    for rank in range(4):
        found = [card for card in visible if names(card)[rank] == composed(reference)]
        if found:
            return _own_or_shared(found, f"scorecard {reference!r}", account)
    raise _missing(f"scorecard {reference!r}", account)


def names(scorecard: Scorecard) -> tuple[str, str | None, str | None, str]:
    """Return what a scorecard answers to, in the order in which references are looked up, each composed."""
    key, external_id = (name and composed(name) for name in (scorecard.key, scorecard.external_id))
    return (composed(scorecard.id), key, external_id, composed(scorecard.name))


def _own_or_shared(found: list[Entry], what: str, account: str | None) -> Entry:
    owners = {entry.account_id for entry in found}
    for owner in (account, None):
        if owner in owners:
            return [entry for entry in found if entry.account_id == owner][-1]
    if account is not None or not found:
        raise _missing(what, account)
    if len(owners) > 1:
        raise InvalidRequest(f"{what} exists in {len(owners)} accounts: name the account")
    return found[-1]


def _missing(what: str, account: str | None) -> NotFound:
    return NotFound(f"{what} does not exist" + (f" for account {account}" if account else ""))
