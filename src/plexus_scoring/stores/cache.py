"""Scorecards kept near: what a reference points to for a while, texts on disk.

In a Lambda function the directory outlives the process that wrote it, and two processes may share it: files are
written whole, named by what they hold, and one that cannot be read is as good as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from plexus_scoring.model import typed
from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import Catalog, Clock
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.codec import encode

_log = logging.getLogger(__name__)
_SUFFIX = ".json"


@dataclass(frozen=True)
class _Known:
    scorecard: Scorecard
    until: float


class _Stored(msgspec.Struct, frozen=True):
    reference: str
    account: str | None
    fetched_at: float
    scorecard: Scorecard


class CachedCatalog:
    """A `Catalog` that asks another one for a scorecard once in `ttl` seconds.

    While the other cannot answer, a scorecard that is out of date is better than none and is used, with a
    warning. Items are not cached: each is read once.

    Args:
        catalog: Where scorecards come from.
        ttl: For how long a reference is believed to mean the same version, in seconds; 0: ask every time.
        directory: Where scorecards are kept; None: in this process only.
        max_bytes: The directory's bound; the files not used for longest go first.
        max_entries: The bound in memory.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        ttl: float,
        directory: str | os.PathLike[str] | None = None,
        max_bytes: int = 64_000_000,
        max_entries: int = 256,
        clock: Clock | None = None,
    ) -> None:
        self._catalog = catalog
        self._ttl = ttl
        self._directory = None if directory is None else Path(directory)
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock or SystemClock()
        self._known: dict[tuple[str, str | None], _Known] = {}
        self._asking: dict[tuple[str, str | None], asyncio.Task[Scorecard]] = {}

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item."""
        return await self._catalog.item(item_id, account=account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the version that was the newest at most `ttl` seconds ago."""
        key = (reference, account)
        known = self._known.get(key)
        if known is not None and self._clock.now() < known.until:
            return known.scorecard
        asking = self._asking.get(key)
        if asking is None:  # many jobs that ask at once ask once
            asking = self._asking[key] = asyncio.create_task(self._ask(reference, account))
            asking.add_done_callback(lambda task: self._asked(key, task))
        return await asyncio.shield(asking)

    async def put_item(self, item: Item) -> None:
        """Store or replace an item."""
        await self._catalog.put_item(item)

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Store a version; it is seen here at once, elsewhere within `ttl`."""
        await self._catalog.put_scorecard(scorecard)
        self._known.clear()
        if self._directory is not None:
            await asyncio.to_thread(_remove_all, self._directory)

    async def aclose(self) -> None:
        """Close the catalog behind."""
        await self._catalog.aclose()

    def _asked(self, key: tuple[str, str | None], task: asyncio.Task[Scorecard]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen here too, in case that every caller was cancelled

    async def _ask(self, reference: str, account: str | None) -> Scorecard:
        stored = await self._load(reference, account)
        now = self._clock.now()
        if stored is not None and 0 <= now - stored.fetched_at < self._ttl:
            return self._keep(reference, account, stored.scorecard, stored.fetched_at + self._ttl)
        try:
            scorecard = await self._catalog.scorecard(reference, account=account)
        except StoreUnavailable as error:
            known = self._known.get((reference, account))
            old = known.scorecard if known else stored.scorecard if stored else None
            if old is None:
                raise
            _log.warning(
                "scorecard %s: using version %s of before: %s", reference, old.version, error
            )
            return old
        if self._directory is not None and self._ttl > 0:
            entry = _Stored(reference, account, now, scorecard)
            path = self._path(self._directory, reference, account)
            await asyncio.to_thread(_store, path, encode(entry), self._max_bytes)
        return self._keep(reference, account, scorecard, now + self._ttl)

    def _keep(
        self, reference: str, account: str | None, scorecard: Scorecard, until: float
    ) -> Scorecard:
        if len(self._known) >= self._max_entries:
            self._known.pop(next(iter(self._known)))
        self._known[reference, account] = _Known(scorecard, until)
        return scorecard

    async def _load(self, reference: str, account: str | None) -> _Stored | None:
        if self._directory is None:
            return None
        path = self._path(self._directory, reference, account)
        stored = await asyncio.to_thread(_read, path)
        if stored is None or (stored.reference, stored.account) != (reference, account):
            return None
        return stored

    @staticmethod
    def _path(directory: Path, reference: str, account: str | None) -> Path:
        name = hashlib.sha256(repr((reference, account)).encode()).hexdigest()[:32]
        return directory / f"{name}{_SUFFIX}"


def _read(path: Path) -> _Stored | None:
    """Return an entry; None if there is none, or one that is damaged or of another version."""
    try:
        if not _is_ours(path.parent):
            return None
        checksum, _, body = path.read_bytes().partition(b"\n")
        if checksum.decode() != hashlib.sha256(body).hexdigest():
            raise ValueError("it is damaged")  # noqa: TRY301  one place for all that can be wrong
        stored = typed.decode(body, _Stored)
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        _log.warning("cached scorecard %s is ignored: %s", path.name, error)
        return None
    return stored


def _is_ours(directory: Path) -> bool:
    """Whether nobody else could have put scorecards there: the default lies in a directory open to all."""
    status = directory.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _store(path: Path, body: bytes, max_bytes: int) -> None:
    """Write an entry whole and keep the directory within its bound; a full disk is no reason to fail."""
    if len(body) > max_bytes:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(path.parent):
            raise PermissionError("others may write there")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        _trim(path.parent, max_bytes)
    except OSError as error:
        _log.warning("scorecards are not cached in %s: %s", path.parent, error)


def _trim(directory: Path, max_bytes: int) -> None:
    entries = sorted(_entries(directory), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > max_bytes:
            path.unlink(missing_ok=True)


def _entries(directory: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield time of last use, size and path of each entry."""
    for path in directory.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime_ns, status.st_size, path


def _remove_all(directory: Path) -> None:
    for path in directory.glob(f"*{_SUFFIX}"):
        path.unlink(missing_ok=True)
