"""Score versions at hand, in memory and on disk: a version never changes, so it is asked for once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from plexus_scoring.model.messages import well_formed
from plexus_scoring.stores.plexus_api.client import GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.documents import versions as query_of
from plexus_scoring.stores.plexus_api.handover import Bounded

log = logging.getLogger(__name__)

MAX_IN_MEMORY = 4_000
MAX_DISK_BYTES = 64_000_000
# AppSync answers 5 MB at most; configurations are some 10 KB.
BATCH = 50


class Versions:
    """The configurations of score versions, by id.

    Args:
        client: The API.
        directory: Where they outlive the process; None: nowhere.
    """

    def __init__(
        self, client: GraphQLClient, *, directory: str | os.PathLike[str] | None = None
    ) -> None:
        self._client = client
        self._directory = Path(directory) / "versions" if directory is not None else None
        self._known: Bounded[str, str] = Bounded(MAX_IN_MEMORY)

    async def configurations(self, version_ids: Iterable[str]) -> dict[str, str]:
        """Return the YAML texts of those versions that exist. Raises StoreUnavailable."""
        wanted = list(dict.fromkeys(version_ids))
        found = {name: text for name in wanted if (text := self._known.get(name)) is not None}
        missing = [name for name in wanted if name not in found]
        if missing and self._directory is not None:
            found |= await asyncio.to_thread(self._read, missing)
            missing = [name for name in missing if name not in found]
        fresh: dict[str, str] = {}
        for start in range(0, len(missing), BATCH):
            fresh |= await self._fetch(missing[start : start + BATCH])
        if fresh and self._directory is not None:
            await asyncio.to_thread(self._write, fresh)
        found |= fresh
        for name, text in found.items():
            self._known.put(name, text)
        return found

    async def _fetch(self, version_ids: list[str]) -> dict[str, str]:
        variables = {f"v{number}": name for number, name in enumerate(version_ids)}
        answer = await self._client.execute(query_of(len(version_ids)), **variables)
        found = {}
        for alias, name in variables.items():
            if error := answer.error(alias):
                raise unavailable(error, f"reading score version {name}")
            record = answer.data.get(alias)
            if record is not None:
                found[name] = str(record.get("configuration") or "")
        return found

    def _path(self, version_id: str) -> Path:
        assert self._directory is not None  # noqa: S101  callers checked it
        name = hashlib.sha256(version_id.encode("utf-8", "replace")).hexdigest()
        return self._directory / f"{name}.yaml"

    def _read(self, version_ids: list[str]) -> dict[str, str]:
        found = {}
        for name in version_ids:
            try:
                found[name] = self._path(name).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                log.warning("cached score version not usable, fetching it: %s", error)
        return found

    def _write(self, texts: dict[str, str]) -> None:
        """Write each in one step: another process may read it at any moment. A full disk costs speed only."""
        try:
            for name, text in texts.items():
                path = self._path(name)
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                    file.write(well_formed(text).encode())
                Path(file.name).replace(path)
            self._bound()
        except OSError as error:
            log.warning("score version not cached on disk: %s", error)

    def _bound(self) -> None:
        assert self._directory is not None  # noqa: S101  callers checked it
        stats = [(file.stat(), file) for file in self._directory.glob("*.yaml")]
        stats.sort(key=lambda entry: entry[0].st_mtime, reverse=True)
        total = 0
        for stat, file in stats:
            total += stat.st_size
            if total > MAX_DISK_BYTES:
                file.unlink(missing_ok=True)
