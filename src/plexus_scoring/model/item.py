"""What is scored: an item and where its text is."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


class ObjectRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object in S3 (or, on the embedded default, a file of that bucket's directory).

    `version` is one of a versioned bucket; None: the newest. Directories have no versions.
    """

    bucket: str
    key: str
    version: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A call transcript, an essay, a code submission, a survey polygon.

    Attributes:
        id: The item's id in its store.
        text: What is scored. None while the text still lies in `s3`; an empty text is a text.
        metadata: Free key-values that templates and rules of a scorecard may read.
        external_id: The id that the item has in its system of origin.
        account_id: The account it belongs to, where the store knows accounts.
        s3: Where the text lies if it is not inline. A service reads it before it scores.
        attached_files: Keys of files that belong to it (Plexus's input sources read them).
    """

    id: str
    text: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    external_id: str | None = None
    account_id: str | None = None
    s3: ObjectRef | None = None
    attached_files: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return a hash of the content (text, metadata, files), the key under which results are reused."""
        content: dict[str, Any] = {"text": self.text, "metadata": self.metadata}
        if self.attached_files:
            content["attached_files"] = self.attached_files
        body = msgspec.json.encode(content, order="deterministic")
        return hashlib.sha256(body).hexdigest()
