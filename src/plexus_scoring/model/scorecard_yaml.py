"""A scorecard's YAML to its names and versions: what stores and commands need to know of it.

The text is a Plexus scorecard (``name``, ``key``, ``scores: [...]``) or one score's own YAML. What stands inside
a score is an engine's business and is not looked at here.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard import Scorecard, ScoreRef, content_version
from plexus_scoring.model.yaml_document import YamlDocument, parse_yaml

MAX_SOURCE_CHARACTERS = 5_000_000


def load_scorecard(text: str, *, file: str | None = None) -> Scorecard:
    """Return the scorecard that `text` describes.

    Raises:
        ScorecardError: not YAML, not a mapping, no scores, a score without a name, a name twice; with
            ``file:line:column``.
    """
    document = read_document(text, file=file)
    entries = score_entries(document, file=file)
    data = document.data
    refs = tuple(_score_ref(entry) for entry in entries)
    name = _text(data.get("name")) or _text(data.get("key")) or _stem(file) or refs[0].name
    key = _text(data.get("key"))
    own = "scores" in data
    return Scorecard(
        id=(_text(data.get("id")) if own else None) or key or name,
        name=name,
        key=key,
        external_id=_text(data.get("externalId", data.get("external_id"))),
        source=text,
        version=content_version(text),
        scores=refs,
        file=file,
    )


def read_document(text: str, *, file: str | None = None) -> YamlDocument:
    """Parse a scorecard's text. Raises ScorecardError if it is not one YAML mapping."""
    if len(text) > MAX_SOURCE_CHARACTERS:
        raise ScorecardError(
            f"the scorecard has {len(text):,} characters; the limit is {MAX_SOURCE_CHARACTERS:,}",
            file=file,
        )
    document = parse_yaml(text, file=file)
    if not isinstance(document.data, dict):
        kinds = {type(None): "empty", str: "text", list: "a list"}
        what = kinds.get(type(document.data), f"a {type(document.data).__name__}")
        raise ScorecardError(
            f"a scorecard must be a mapping with name and scores, this is {what}", file=file, line=1
        )
    return document


def score_entries(document: YamlDocument, *, file: str | None = None) -> list[dict[Any, Any]]:
    """Return the scores' own mappings, named and unique.

    Raises:
        ScorecardError: `scores` is not a list of mappings, is empty, or a score's name is missing or double.
    """
    data = document.data
    if "scores" not in data:
        if "class" in data or "graph" in data:
            return [data if _text(data.get("name")) else {**data, "name": _stem(file) or "score"}]
        raise ScorecardError(
            "there is neither `scores: [...]` nor a score's own `class:` here",
            file=file,
            line=document.find(()).line,
            column=document.find(()).column,
        )
    entries = data["scores"]
    place = document.find(("scores",))
    if not isinstance(entries, list) or not entries:
        raise ScorecardError(
            "`scores` must be a list with at least one score (each begins with `- name: …`)",
            file=file,
            line=place.line,
            column=place.column,
        )
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        here = document.find(("scores", index))
        if not isinstance(entry, dict):
            raise _wrong(f"score {index + 1} is not a mapping", file, here)
        name = _text(entry.get("name"))
        if not name:
            raise _wrong(f"score {index + 1} has no name", file, here)
        if name in seen:
            raise _wrong(
                f"two scores are named {name!r} (the first on line {seen[name]}): rename one",
                file,
                here,
            )
        seen[name] = here.line
    return entries


def _wrong(message: str, file: str | None, place: Any) -> ScorecardError:
    return ScorecardError(message, file=file, line=place.line, column=place.column)


def _score_ref(entry: dict[Any, Any]) -> ScoreRef:
    name = _text(entry.get("name")) or "score"
    return ScoreRef(
        name=name,
        id=_text(entry.get("id")) or _text(entry.get("key")) or name,
        key=_text(entry.get("key")),
        external_id=_text(entry.get("externalId", entry.get("external_id"))),
        version=_text(entry.get("version")),
    )


def _text(value: Any) -> str | None:
    """Return an id or name as text; Plexus files write ids as numbers, too."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _stem(file: str | None) -> str | None:
    return PurePath(file).stem if file else None
