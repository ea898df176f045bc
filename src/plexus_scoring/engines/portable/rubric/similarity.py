"""How much of a submission stands in an earlier one.

Winnowing (Schleimer, Wilkerson, Aiken: "Winnowing: local algorithms for document fingerprinting", 2003), which is what
MOSS does: hashes of runs of tokens, of which each window keeps its least. A shared run of WINDOW + LENGTH - 1 tokens is
always found, whatever stands around it; in code, names and literals are alike, so that renaming hides nothing. The
libraries that offer it are not kept up (copydetect) or bring numpy and scipy, 200 MB, for another method (datasketch).
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from plexus_scoring.engines.portable.rubric.code import CodeLanguage, check_size, tokens_of
from plexus_scoring.engines.portable.rubric.language import SimilarityCriterion
from plexus_scoring.engines.portable.rubric.outcome import CriterionResult, on_scale
from plexus_scoring.model.errors import InvalidRequest

TEXT_LENGTH, CODE_LENGTH = 5, 12
WINDOW = 4
MAX_EARLIER_CHARACTERS = 20_000_000


async def judge_similarity(
    criterion: SimilarityCriterion,
    text: str,
    metadata: Mapping[str, Any],
    language: CodeLanguage | None,
) -> CriterionResult:
    """Return the likeness to the most similar earlier submission, on the criterion's scale.

    Raises:
        InvalidRequest: the metadata does not list texts, or too many of them.
    """
    earlier = _earlier(metadata.get(criterion.metadata_key), criterion.metadata_key)
    if not earlier:
        return CriterionResult(
            score=1.0, feedback="there are no earlier submissions", details={"compared": 0}
        )
    if language is not None:
        check_size(text)
    shares = await asyncio.to_thread(_shares, text, earlier, language)
    name, share = max(shares, key=lambda entry: entry[1])
    return CriterionResult(
        score=on_scale(share, criterion.good, criterion.bad),
        feedback=f"{share:.0%} stands in the most similar of {len(earlier)} earlier submissions ({name})",
        details={"compared": len(earlier), "most_similar": name, "share": share},
    )


def fingerprints(tokens: Sequence[str], length: int, window: int = WINDOW) -> set[int]:
    """Return the winnowed hashes of the tokens' runs; of fewer tokens than `length`, the hash of them all."""
    if not tokens:
        return set()
    runs = [
        zlib.crc32("\0".join(tokens[start : start + length]).encode("utf-8", "surrogatepass"))
        for start in range(max(1, len(tokens) - length + 1))
    ]
    kept: set[int] = set()
    candidates: deque[int] = deque()  # places whose hash is less than all that come after them
    for place, value in enumerate(runs):
        while candidates and runs[candidates[-1]] >= value:
            candidates.pop()
        candidates.append(place)
        if candidates[0] <= place - window:
            candidates.popleft()
        if place >= min(window, len(runs)) - 1:
            kept.add(runs[candidates[0]])
    return kept


def tokens_for(text: str, language: CodeLanguage | None) -> list[str]:
    """Return what is compared: words, or code without comments and with all names and literals alike."""
    if language is None:
        return text.casefold().split()
    alike = {"name": "N", "literal": "L"}
    return [
        alike.get(kind, content.strip())
        for kind, content in tokens_of(text, language)
        if kind not in ("comment", "doc", "space") and content.strip()
    ]


def _shares(
    text: str, earlier: Sequence[tuple[str, str]], language: CodeLanguage | None
) -> list[tuple[str, float]]:
    length = TEXT_LENGTH if language is None else CODE_LENGTH
    own = fingerprints(tokens_for(text, language), length)
    return [
        (name, len(own & fingerprints(tokens_for(other, language), length)) / max(1, len(own)))
        for name, other in earlier
    ]


def _earlier(given: Any, key: str) -> list[tuple[str, str]]:
    if given is None:
        return []
    found: list[tuple[str, str]] = []
    for number, entry in enumerate(given if isinstance(given, list) else [None], start=1):
        text = entry.get("text") if isinstance(entry, Mapping) else entry
        if not isinstance(text, str):
            raise InvalidRequest(
                f"the item's metadata {key!r} must be a list of texts, or of mappings with id and text"
            )
        name = entry.get("id") if isinstance(entry, Mapping) else None
        found.append((str(name or f"number {number}"), text))
    if sum(len(text) for _, text in found) > MAX_EARLIER_CHARACTERS:
        raise InvalidRequest(
            f"the item's metadata {key!r} has more than {MAX_EARLIER_CHARACTERS:,} characters"
        )
    return found
