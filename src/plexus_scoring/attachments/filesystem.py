"""Attachments in a directory: one directory a bucket, one file a key."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path

from plexus_scoring.model.errors import InvalidRequest, NotFound, StoreUnavailable
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.result import check_no_result

# The key or what lies on its way cannot be a file here; trying again cannot help.
_BAD_KEY = {
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.EINVAL,
}


class FilesystemAttachments:
    """An `AttachmentStore` in ``root/<bucket>/<key>``.

    A write is atomic and durable: readers see the old file or the new one, and a crash leaves one of them.
    """

    def __init__(self, root: str | os.PathLike[str], *, bucket: str = "attachments") -> None:
        self._root = Path(root).resolve()
        self._bucket = bucket

    async def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Write a file of our own; `content_type` has no meaning here."""
        del content_type
        await asyncio.to_thread(self._write, self._path(self._bucket, key), body)

    async def get(self, key: str) -> bytes:
        """Read a file of our own. Raises NotFound."""
        return await asyncio.to_thread(self._read, self._path(self._bucket, key))

    async def read(self, ref: ObjectRef) -> bytes:
        """Read a file of any bucket's directory. Raises NotFound, InvalidRequest."""
        check_no_result(ref.key)
        return await asyncio.to_thread(self._read, self._path(ref.bucket, ref.key))

    async def aclose(self) -> None:
        """Close nothing."""

    def _path(self, bucket: str, key: str) -> Path:
        parts = [bucket, *key.split("/")]
        if "/" in bucket or any(part in {"", ".", ".."} or "\0" in part for part in parts):
            raise InvalidRequest(f"bucket {bucket!a}, key {key!a} is no path of a file")
        try:
            path = self._root.joinpath(*parts)
            os.fsencode(path)
            inside = path.resolve().is_relative_to(self._root)
        except (UnicodeEncodeError, OSError, RuntimeError) as error:
            raise InvalidRequest(f"key {key!a} cannot be a file name: {error}") from error
        if not inside:
            raise InvalidRequest(f"bucket {bucket}, key {key} leads out of the directory")
        return path

    def _write(self, path: Path, body: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise self._translated(error, path) from error

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._translated(error, path) from error

    def _translated(
        self, error: OSError, path: Path
    ) -> InvalidRequest | NotFound | StoreUnavailable:
        place = path.relative_to(self._root)
        if isinstance(error, FileNotFoundError):
            return NotFound(f"object {place} does not exist")
        if error.errno in _BAD_KEY:
            return InvalidRequest(f"object {place} cannot be a file: {error.strerror}")
        if isinstance(error, PermissionError):
            return InvalidRequest(f"object {place}: access denied")
        return StoreUnavailable(f"object {place}: {error.strerror}")
