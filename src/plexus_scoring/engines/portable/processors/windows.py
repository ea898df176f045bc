"""Keep the lines of a transcript that hold a keyword, and their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

_UNITS: Final = ("sentences", "words", "characters")
_GAP: Final = "..."


def keep_relevant_windows(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the lines with a keyword and the lines around them; what is left out shows as ``...``.

    Parameters, as Plexus names them: ``keywords``; ``fuzzy_match`` (false) with ``fuzzy_threshold`` (80, of 100);
    ``case_sensitive`` (false); ``prev_count`` and ``next_count`` (1) lines of context. ``window_unit`` is checked
    and otherwise unused, and ``classifier`` cannot be given in YAML: both as in Plexus.

    Raises:
        ValueError: No keywords, or an unknown ``window_unit``.
    """
    keywords = parameters.get("keywords", [])
    if not keywords:
        raise ValueError("it needs 'keywords'")
    if parameters.get("window_unit", "sentences") not in _UNITS:
        raise ValueError(f"its window_unit must be one of {', '.join(_UNITS)}")
    lines = text.split("\n")
    relevant = _relevant(lines, keywords, parameters)
    kept = _with_neighbours(
        relevant, parameters.get("prev_count", 1), parameters.get("next_count", 1)
    )
    result = "\n".join(_with_gaps(lines, kept)).strip()
    return "" if result == _GAP else result


def _relevant(lines: list[str], keywords: Any, parameters: Mapping[str, Any]) -> list[bool]:
    case_sensitive = parameters.get("case_sensitive", False)
    threshold = parameters.get("fuzzy_threshold", 80)
    wanted = [word if case_sensitive else word.lower() for word in keywords]
    if not parameters.get("fuzzy_match", False):
        return [
            any(word in line for word in wanted)
            for line in (lines if case_sensitive else map(str.lower, lines))
        ]
    from rapidfuzz import fuzz  # noqa: PLC0415 - most scorecards never need it

    return [
        any(fuzz.partial_ratio(word, line) >= threshold for word in wanted)
        for line in (lines if case_sensitive else map(str.lower, lines))
    ]


def _with_neighbours(relevant: Sequence[bool], before: int, after: int) -> list[bool]:
    """Mark each relevant line's window, in time linear in the lines whatever the windows' size."""
    count = len(relevant)
    changes = [0] * (count + 1)
    for index, hit in enumerate(relevant):
        if hit:
            start, end = max(index - before, 0), min(index + after + 1, count)
            if start < end:
                changes[start] += 1
                changes[end] -= 1
    return [depth > 0 for depth in accumulate(changes[:-1])]


def _with_gaps(lines: list[str], kept: list[bool]) -> list[str]:
    shown: list[str] = []
    for index, line in enumerate(lines):
        if kept[index]:
            part = line
        elif (index > 0 and kept[index - 1]) or (index + 1 < len(kept) and kept[index + 1]):
            part = _GAP
        else:
            continue
        if part != _GAP or shown[-1:] != [_GAP]:
            shown.append(part)
    return shown
