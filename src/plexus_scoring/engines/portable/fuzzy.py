"""Fuzzy matching of targets, alone or in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from plexus_scoring.engines.portable.language.nodes import FuzzyTarget, FuzzyTargetGroup

Target = FuzzyTarget | FuzzyTargetGroup
Match = dict[str, Any]


def match_values(target: Target, values: Sequence[str]) -> tuple[bool, list[Match]]:
    """Return whether the targets are met by the values, and the matches that made it so."""
    return _evaluate(target, lambda one: _best_value(one, values))


def match_text(target: Target, text: str) -> tuple[bool, list[Match]]:
    """Return whether the targets are met by a text, and the matches with their places where they can be told."""
    return _evaluate(target, lambda one: _in_text(one, text))


def target_names(target: Target) -> list[str]:
    """Return every target's text, nested ones in order."""
    if isinstance(target, FuzzyTarget):
        return [target.target]
    return [name for item in target.items for name in target_names(item)]


def _evaluate(
    target: Target, find: Callable[[FuzzyTarget], Match | None]
) -> tuple[bool, list[Match]]:
    if isinstance(target, FuzzyTarget):
        found = find(target)
        return found is not None, [found] if found else []
    matches: list[Match] = []
    for item in target.items:
        met, more = _evaluate(item, find)
        if target.operator == "or":
            matches += more
            if met:
                return True, matches
        elif not met:
            return False, []
        else:
            matches += more
    return target.operator == "and", matches


def _best_value(target: FuzzyTarget, values: Sequence[str]) -> Match | None:
    best: tuple[str, float] | None = None
    for value in values:
        if value:
            score = _score(target, value)
            if score is not None and score > (best[1] if best else 0):
                best = (value, score)
    return _match(target, best[1], best[0]) if best else None


def _in_text(target: FuzzyTarget, text: str) -> Match | None:
    score = _score(target, text)
    if score is None:
        return None
    if target.scorer != "partial_ratio":
        return _match(target, score, text)
    from rapidfuzz import fuzz, utils  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

    processor = utils.default_process if target.preprocess else None
    aligned = fuzz.partial_ratio_alignment(target.target, text, processor=processor)
    if aligned is None:
        return _match(target, score, text)
    place = (aligned.dest_start, aligned.dest_end)
    return _match(target, score, text[slice(*place)], place)


def _score(target: FuzzyTarget, value: str) -> float | None:
    from rapidfuzz import fuzz, process, utils  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

    found = process.extractOne(
        target.target,
        [value],
        scorer=getattr(fuzz, target.scorer),
        processor=utils.default_process if target.preprocess else None,
        score_cutoff=target.threshold,
    )
    return float(found[1]) if found else None


def _match(
    target: FuzzyTarget, score: float, text: str, place: tuple[int, int] | None = None
) -> Match:
    return {
        "target": target.target,
        "threshold": target.threshold,
        "score": score,
        "matched_text": text,
        "matched_indices": place,
    }
