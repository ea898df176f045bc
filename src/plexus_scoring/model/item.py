"""What is scored: an item and where its text is."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


class ObjectRef(msgspec.Struct, frozen=True):
    """An object in S3 (or, on the embedded default, a file of that bucket's directory)."""

    bucket: str
    key: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A call transcript, an essay, a code submission, a survey polygon.

    Attributes:
        id: The item's id in its store.
        text: What is scored. None while the text still lies in `s3`; an empty text is a text.
        metadata: Free key-values that templates and rules of a scorecard may read.
        external_id: The id that the item has in its system of origin.
        account_id: The account it belongs to, where the store knows accounts.
        s3: Where the text lies if it is not inline. A service reads it before it scores.
    """

    id: str
    text: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    external_id: str | None = None
    account_id: str | None = None
    s3: ObjectRef | None = None

    def digest(self) -> str:
        """Return a hash of the content (text and metadata), the key under which results are reused."""
        body = msgspec.json.encode(
            {"text": self.text, "metadata": self.metadata}, order="deterministic"
        )
        return hashlib.sha256(body).hexdigest()
