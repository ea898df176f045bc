"""Items and scorecards in a directory, for work on one's own machine.

``scorecards/`` holds YAML files (a scorecard, or one score's own YAML), ``items/`` holds ``.txt`` files (the text
itself) and ``.json`` files (``{"id"?, "text", "metadata"?, "external_id"?}``); both may have folders.

An item's id is its ``id``, else its path below ``items/`` without the suffix. A scorecard's version is its content,
so a changed file is a new version.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from plexus_scoring.model import typed
from plexus_scoring.model.errors import InvalidRequest, NotFound, ScorecardError, StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.stores import select
from plexus_scoring.stores.codec import check_id, encode, is_id

_YAML = {".yaml", ".yml"}
_MAX_NAME = 200  # file systems end names at 255 bytes


class _ItemFile(msgspec.Struct, frozen=True):
    text: str
    id: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    external_id: str | None = None


class FilesCatalog:
    """A `Catalog` over a directory. Files are read when asked for; what did not change is not parsed again."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)
        self._parsed: dict[Path, tuple[tuple[int, int], Scorecard | ScorecardError]] = {}

    async def item(self, item_id: str, *, account: str | None = None) -> Item:
        """Return the item. Raises NotFound, InvalidRequest (its file is not an item)."""
        return await asyncio.to_thread(self._item, item_id, account)

    async def scorecard(self, reference: str, *, account: str | None = None) -> Scorecard:
        """Return the scorecard. Raises NotFound, or the ScorecardError of the files that cannot be read.

        A file that is wrong matters only if no right one answers to the reference.
        """
        return await asyncio.to_thread(self._scorecard, reference, account)

    async def put_item(self, item: Item) -> None:
        """Write the item to a ``.json`` file named by its id. Raises InvalidRequest."""
        if item.text is None:
            raise InvalidRequest(f"item {item.id}: a directory keeps texts, not references to S3")
        name = self._file_name(item.id, "the item's id")
        body = encode(_ItemFile(item.text, item.id, item.metadata, item.external_id))
        await asyncio.to_thread(_write, self._root / "items" / f"{name}.json", body)

    async def put_scorecard(self, scorecard: Scorecard) -> None:
        """Write the scorecard's text to a file named by its id. Raises InvalidRequest."""
        name = self._file_name(scorecard.id, "the scorecard's id")
        body = scorecard.source.encode("utf-8", "replace")
        await asyncio.to_thread(_write, self._root / "scorecards" / f"{name}.yaml", body)

    async def aclose(self) -> None:
        """Close nothing."""

    def _item(self, item_id: str, account: str | None) -> Item:
        items = self._root / "items"
        by_name = [items / f"{item_id}{suffix}" for suffix in (".json", ".txt")]
        for path in by_name if _is_relative(item_id) else ():
            if path.is_file() and (item := self._read_item(path)).id == item_id:
                return item
        for path in _files(items, {".json"}):  # an id that is not the file's name
            if (item := self._read_item(path)).id == item_id:
                return item
        return select.one_item([], item_id, account)

    def _read_item(self, path: Path) -> Item:
        text = _read(path)
        name = path.relative_to(self._root / "items").with_suffix("").as_posix()
        if path.suffix == ".txt":
            return Item(id=name, text=text)
        try:
            file = typed.decode(text, _ItemFile)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidRequest(
                f"{path}: not an item: {error}; it must be {{'id'?, 'text', 'metadata'?, 'external_id'?}}"
            ) from error
        return Item(
            id=file.id or name,
            text=file.text,
            metadata=file.metadata,
            external_id=file.external_id,
        )

    def _scorecard(self, reference: str, account: str | None) -> Scorecard:
        cards: list[Scorecard] = []
        broken: list[ScorecardError] = []
        for path in _files(self._root / "scorecards", _YAML):
            parsed = self._parse(path)
            if isinstance(parsed, ScorecardError):
                broken.append(parsed)
            else:
                cards.append(parsed)
        try:
            return select.one_scorecard(cards, reference, account)
        except NotFound:
            if broken:
                raise broken[0] from None
            raise

    def _parse(self, path: Path) -> Scorecard | ScorecardError:
        from plexus_scoring.model.scorecard_yaml import load_scorecard  # noqa: PLC0415  YAML is slow to import

        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._parsed.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        parsed: Scorecard | ScorecardError
        try:
            parsed = load_scorecard(_read(path), file=str(path))
        except ScorecardError as error:
            parsed = error
        except InvalidRequest as error:
            parsed = ScorecardError(error.message)
        self._parsed[path] = (stamp, parsed)
        return parsed

    def _file_name(self, identifier: str, what: str) -> str:
        if not _is_relative(check_id(identifier, what)):
            raise InvalidRequest(f"{what} cannot be a file's name: {identifier!a}")
        return identifier


def _is_relative(name: str) -> bool:
    if not is_id(name):
        return False
    parts = name.split("/")
    return not any(
        part in {"", ".", ".."} or "\0" in part or len(part.encode()) > _MAX_NAME for part in parts
    )


def _files(directory: Path, suffixes: set[str]) -> Iterator[Path]:
    """Yield the files below a directory, in the order of their names."""
    if directory.is_dir():
        for path in sorted(directory.rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path


def _read(path: Path) -> str:
    """Return a file's text, line ends as they are. Raises InvalidRequest unless it is UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequest(f"{path}:{line}: not UTF-8 text: {error.reason}") from error
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def _write(path: Path, body: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(body)
        Path(file.name).replace(path)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
