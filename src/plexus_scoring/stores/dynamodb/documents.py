"""Bodies of any size: in the item while they are small, beside it when they are not.

DynamoDB refuses items above 400 KB (counted in UTF-8 bytes, names included) and charges every write by the
size of the whole item. A body above its limit goes to the attachments under a key made of its content, before
the item is written: a repeated call writes the same object again, and an object nobody refers to is harmless.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from plexus_scoring.model.errors import InvalidRequest, NotFound, StoreUnavailable
from plexus_scoring.ports import AttachmentStore
from plexus_scoring.stores.codec import decode, encode

T = TypeVar("T")

# A job's item is rewritten by every transition, the others are written once. The rest of an item
# (keys, state, last error) stays below 20 KB.
JOB_INLINE_BYTES = 32 * 1024
INLINE_BYTES = 256 * 1024


class Documents:
    """Turns documents into an attribute value and back."""

    def __init__(self, overflow: AttachmentStore | None) -> None:
        self._overflow = overflow

    async def write(self, document: Any, *, inline_bytes: int = INLINE_BYTES) -> dict[str, Any]:
        """Return the attribute: a string with JSON, or a list of one string, the object's key.

        One attribute for both, so that ``if_not_exists`` can keep what is there.
        """
        body = encode(document)
        if len(body) <= inline_bytes:
            return {"S": body.decode()}
        return {"L": [{"S": await self._store(body, "json")}]}

    async def write_bytes(self, body: bytes) -> dict[str, Any]:
        """Return the attribute for bytes."""
        if len(body) <= INLINE_BYTES:
            return {"B": body}
        return {"L": [{"S": await self._store(body, "bin")}]}

    @staticmethod
    def is_beside(attribute: dict[str, Any]) -> bool:
        """Whether the document lies in an attachment."""
        return "L" in attribute

    async def read(self, attribute: dict[str, Any], as_type: type[T]) -> T:
        """Return the document. Raises StoreUnavailable if its object is gone."""
        return decode(await self.read_bytes(attribute), as_type)

    async def read_bytes(self, attribute: dict[str, Any]) -> bytes:
        """Return the bytes."""
        if "S" in attribute:
            inline: str = attribute["S"]
            return inline.encode()
        if "B" in attribute:
            return bytes(attribute["B"])
        key = attribute["L"][0]["S"]
        if self._overflow is None:
            raise StoreUnavailable(
                f"the body lies in attachment {key}, but no attachments are set up"
            )
        try:
            return await self._overflow.get(key)
        except NotFound as error:
            raise StoreUnavailable(f"the body lies in attachment {key}, which is gone") from error

    async def _store(self, body: bytes, suffix: str) -> str:
        if self._overflow is None:
            raise InvalidRequest(
                f"{len(body):,} bytes do not fit into a DynamoDB item and no attachments are set up"
            )
        key = f"overflow/{hashlib.sha256(body).hexdigest()}.{suffix}"
        await self._overflow.put(key, body, content_type="application/json")
        return key
