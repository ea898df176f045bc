"""Criteria judged by rules: keywords, patterns, passages, length."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.regexes import compile_pattern, found_in
from plexus_scoring.engines.portable.rubric.language import Rule, RulesCriterion, WordRange
from plexus_scoring.engines.portable.rubric.outcome import CriterionResult

Check = Callable[[str], Awaitable[bool]]


class RulesJudge:
    """A criterion's rules, compiled."""

    def __init__(self, criterion: RulesCriterion, source: ScoreSource, *path: Any) -> None:
        """Compile. Raises ScorecardError for a pattern that does not compile."""
        self._rules = [
            (rule, _check(rule, source, *path, "rules", number))
            for number, rule in enumerate(criterion.rules)
        ]

    async def judge(self, text: str) -> CriterionResult:
        """Return the share of rules that hold. Raises BudgetExceeded for a pattern that does not end."""
        held: list[str] = []
        broken: list[str] = []
        earned = 0.0
        for rule, check in self._rules:
            if await check(text) == (rule.must_be == "present"):
                held.append(_shown(rule))
                earned += rule.weight
            else:
                broken.append(_shown(rule))
        total = sum(rule.weight for rule, _ in self._rules)
        feedback = f"{len(held)} of {len(self._rules)} rules hold"
        if broken:
            feedback += f"; not: {', '.join(broken)}"
        return CriterionResult(
            score=earned / total, feedback=feedback, details={"held": held, "broken": broken}
        )


def _check(rule: Rule, source: ScoreSource, *path: Any) -> Check:
    if rule.pattern is not None:
        return _pattern(compile_pattern(rule.pattern, source, *path, "pattern"))
    if rule.keywords is not None:
        return _keywords(rule.keywords, rule.match)
    if rule.words is not None:
        return _words(rule.words)
    return _fuzzy(rule.fuzzy or "", rule.threshold)


def _pattern(pattern: str) -> Check:
    async def check(text: str) -> bool:
        return await found_in(text, pattern, ignore_case=True)

    return check


def _keywords(keywords: Sequence[str], match: str) -> Check:
    patterns = [rf"(?<!\w){re.escape(word.strip())}(?!\w)" for word in keywords if word.strip()]

    async def check(text: str) -> bool:
        found = [await found_in(text, pattern, ignore_case=True) for pattern in patterns]
        return any(found) if match == "any" else all(found)

    return check


def _words(words: WordRange) -> Check:
    async def check(text: str) -> bool:
        count = len(text.split())
        return count >= words.least and (words.most is None or count <= words.most)

    return check


def _fuzzy(passage: str, threshold: float) -> Check:
    def found(text: str) -> bool:
        from rapidfuzz import fuzz, utils  # noqa: PLC0415  14 ms that only this rule pays

        process = utils.default_process
        likeness = fuzz.partial_ratio(passage, text, processor=process, score_cutoff=threshold)
        # An empty text, or one of punctuation only, is like nothing.
        return bool(process(text)) and likeness >= threshold

    async def check(text: str) -> bool:
        return await asyncio.to_thread(found, text)

    return check


def _shown(rule: Rule) -> str:
    if rule.name:
        return rule.name
    if rule.words is not None:
        most = "" if rule.words.most is None else f" to {rule.words.most}"
        return f"{rule.words.least}{most} words"
    what = (
        rule.pattern
        or rule.fuzzy
        or f" {'or' if rule.match == 'any' else 'and'} ".join(rule.keywords or ())
    )
    return f"{'no ' if rule.must_be == 'absent' else ''}{what!r}"
