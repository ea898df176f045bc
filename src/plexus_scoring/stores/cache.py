"""Keeps scorecards at hand, in memory and on disk, so that a warm job does not fetch them again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections import OrderedDict
from pathlib import Path

import msgspec

from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.ports import Catalog, Clock

log = logging.getLogger(__name__)

MAX_SCORECARDS = 256
MAX_DISK_BYTES = 64_000_000


class _Entry(msgspec.Struct, frozen=True):
    """A scorecard, and until when (seconds since the epoch) it is believed to be the newest version."""

    scorecard: Scorecard
    expires_at: float


_Key = tuple[str, str | None]


class CachedCatalog:
    """A `Catalog` in front of another one. Items pass through: each is scored once.

    Concurrent requests for the same scorecard make one fetch. The directory outlives the process: what a new process
    finds there and is still fresh, it uses; what it cannot read, it fetches.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        clock: Clock,
        ttl_seconds: float,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        """Cache `catalog`; `directory` None keeps to memory."""
        self._catalog = catalog
        self._clock = clock
        self._ttl = ttl_seconds
        self._directory = Path(directory) if directory is not None else None
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._fetches: dict[_Key, asyncio.Task[Scorecard]] = {}

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item. Raises NotFound."""
        return await self._catalog.item(item_id, account=account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the newest version, as new as the time to live. Raises NotFound, ScorecardError."""
        key = (reference, account)
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at > self._clock.now():
            self._entries.move_to_end(key)
            return entry.scorecard
        task = self._fetches.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(key))
            self._fetches[key] = task
            task.add_done_callback(lambda _: self._fetches.pop(key, None))
        # Shielded: a job that is cancelled while it waits must not fail the others that wait for the same.
        return await asyncio.shield(task)

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        await self._catalog.put_item(item)

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a version, and forget what was cached: names may lead elsewhere now."""
        await self._catalog.put_scorecard(scorecard)
        self._entries.clear()
        if self._directory is not None:
            await asyncio.to_thread(_remove_files, self._directory)

    async def aclose(self) -> None:
        """Close the catalog behind. Safe to call twice."""
        await self._catalog.aclose()

    async def _fetch(self, key: _Key) -> Scorecard:
        entry = await asyncio.to_thread(self._read, key) if self._directory else None
        if entry is None or entry.expires_at <= self._clock.now():
            scorecard = await self._catalog.scorecard(key[0], account=key[1])
            entry = _Entry(scorecard, self._clock.now() + self._ttl)
            if self._directory is not None and self._ttl > 0:
                await asyncio.to_thread(self._write, key, entry)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_SCORECARDS:
            self._entries.popitem(last=False)
        return entry.scorecard

    def _path(self, key: _Key) -> Path:
        assert self._directory is not None  # noqa: S101  callers checked it
        name = hashlib.sha256(msgspec.json.encode(key)).hexdigest()
        return self._directory / f"{name}.json"

    def _read(self, key: _Key) -> _Entry | None:
        try:
            entry = msgspec.json.decode(self._path(key).read_bytes(), type=_Entry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("cached scorecard not usable, fetching it: %s", error)
            return None
        if content_version(entry.scorecard.source) != entry.scorecard.version:
            log.warning("cached scorecard is not what it says it is, fetching it")
            return None
        return entry

    def _write(self, key: _Key, entry: _Entry) -> None:
        """Write a file in one step: another process may read it at any moment. A full disk costs speed only."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(msgspec.json.encode(entry))
            Path(file.name).replace(path)
            _bound(path.parent)
        except OSError as error:
            log.warning("scorecard not cached on disk: %s", error)


def _bound(directory: Path) -> None:
    """Remove the oldest files beyond `MAX_DISK_BYTES`."""
    files = sorted(
        ((file.stat().st_mtime, file.stat().st_size, file) for file in directory.glob("*.json")),
        reverse=True,
    )
    total = 0
    for _, size, file in files:
        total += size
        if total > MAX_DISK_BYTES:
            file.unlink(missing_ok=True)


def _remove_files(directory: Path) -> None:
    for file in directory.glob("*.json"):
        file.unlink(missing_ok=True)
