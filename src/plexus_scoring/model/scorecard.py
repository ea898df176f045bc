"""A scorecard as stores keep it: YAML text with a version made of its content."""

from __future__ import annotations

import hashlib
import unicodedata

import msgspec


class ScoreRef(msgspec.Struct, frozen=True, kw_only=True):
    """A score as a scorecard lists it. Jobs may name it by any of these."""

    name: str
    id: str
    key: str | None = None
    external_id: str | None = None
    version: str | None = None


class Scorecard(msgspec.Struct, frozen=True, kw_only=True):
    """A scorecard's text and names. Reading the language is an engine's work.

    Attributes:
        id: Id in the store; for files, the scorecard's `id`, else `key`, else its name.
        source: The YAML text: ``name``, ``key``, ``scores: [...]``, or one score's own YAML.
        version: Hash of `source`: the same text always is the same version.
        file: Name to put before a line number in messages.
    """

    id: str
    name: str
    source: str
    version: str
    key: str | None = None
    external_id: str | None = None
    account_id: str | None = None
    scores: tuple[ScoreRef, ...] = ()
    file: str | None = None


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): however an accent is encoded, the name is the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what a name is compared by where neither case nor the encoding of accents counts."""
    return composed(name).casefold()


def content_version(source: str) -> str:
    """Return the version of a scorecard's text: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]
