"""What one step of a job knows and a later one needs, kept in this process so that it is not fetched again.

Everything here is bounded and may be forgotten at any time: whoever misses it asks the API.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec

from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import JobKey
from plexus_scoring.ports import AttachmentStore

K = TypeVar("K")
V = TypeVar("V")

MAX_JOBS = 2_000
MAX_ITEMS = 200
MAX_VERSIONS = 50_000
MAX_TRACE_BYTES = 100_000


class Bounded(Generic[K, V]):
    """A mapping that forgets what was put in first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def get(self, key: K) -> V | None:
        """Return a value, or None."""
        return self._entries.get(key)

    def pop(self, key: K) -> V | None:
        """Return a value and forget it."""
        return self._entries.pop(key, None)


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A job's ids in the API, as its claim found them."""

    account_id: str
    item_id: str
    scorecard_id: str
    score_id: str | None = None
    item_external_id: str | None = None


class Handover:
    """What the job store, the catalog and the attachments of one process tell each other."""

    def __init__(self) -> None:
        self.tickets: Bounded[JobKey, Ticket] = Bounded(MAX_JOBS)
        self._items: Bounded[str, tuple[Item, int]] = Bounded(MAX_ITEMS)
        self.traces: Bounded[str, bytes] = Bounded(MAX_ITEMS)
        # (content version of a scorecard, any name of a score) → id of the score's champion version.
        self.champions: Bounded[tuple[str, str], str] = Bounded(MAX_VERSIONS)

    def give_item(self, item: Item) -> None:
        """Keep an item for one job more: several scores of one item are often at work at once."""
        kept = self._items.get(item.id)
        self._items.put(item.id, (item, kept[1] + 1 if kept else 1))

    def take_item(self, item_id: str) -> Item | None:
        """Return an item that a claim gave, to as many jobs as gave it."""
        kept = self._items.pop(item_id)
        if kept is None:
            return None
        item, jobs = kept
        if jobs > 1:
            self._items.put(item_id, (item, jobs - 1))
        return item


class TracingAttachments:
    """An `AttachmentStore` that lets the API's result carry the trace, too, without reading it back."""

    def __init__(self, attachments: AttachmentStore, handover: Handover) -> None:
        self._attachments = attachments
        self._traces = handover.traces

    async def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object."""
        await self._attachments.put(key, body, content_type=content_type)
        if key.endswith("/trace.json") and len(body) <= MAX_TRACE_BYTES:
            self._traces.put(key, body)

    async def get(self, key: str) -> bytes:
        """Read an object of our own. Raises NotFound."""
        return await self._attachments.get(key)

    async def read(self, ref: ObjectRef) -> bytes:
        """Read an object of any bucket. Raises NotFound, InvalidRequest."""
        return await self._attachments.read(ref)

    async def aclose(self) -> None:
        """Close what is behind."""
        await self._attachments.aclose()
