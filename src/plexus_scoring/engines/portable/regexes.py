"""An author's regular expressions, bounded: a pattern that backtracks for ever ends with a clear error."""

from __future__ import annotations

import asyncio
from typing import Any

import regex

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.model.errors import BudgetExceeded

MAX_SECONDS = 5.0
_IN_LOOP = 20_000  # characters that are searched without leaving the event loop


class Pattern:
    """A compiled regular expression."""

    def __init__(self, compiled: Any, text: str) -> None:
        self._compiled = compiled
        self._text = text

    async def found(self, text: str) -> bool:
        """Whether the pattern is found. Raises BudgetExceeded if looking takes more than 5 s."""
        if len(text) <= _IN_LOOP:
            return self._search(text)
        return await asyncio.to_thread(self._search, text)

    def _search(self, text: str) -> bool:
        try:
            return self._compiled.search(text, timeout=MAX_SECONDS) is not None
        except TimeoutError as error:
            raise BudgetExceeded(
                f"the regular expression {self._text!r} took more than {MAX_SECONDS:g} s on this text: simplify it"
            ) from error


def compile_pattern(text: str, source: ScoreSource, *path: Any) -> Pattern:
    """Compile a pattern of the scorecard. Raises ScorecardError."""
    try:
        return Pattern(regex.compile(text, regex.IGNORECASE), text)
    except regex.error as error:
        raise source.error(f"{text!r} is no regular expression: {error}", *path) from error
