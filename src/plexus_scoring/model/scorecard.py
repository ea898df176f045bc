"""A scorecard as stores keep it: YAML text with a version made of its content."""

from __future__ import annotations

import hashlib

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

    def answers_to(self, reference: str) -> bool:
        """Whether `reference` is this scorecard's id, key, external id or name."""
        return reference in (self.id, self.key, self.external_id, self.name)


def content_version(source: str) -> str:
    """Return the version of a scorecard's text: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]
