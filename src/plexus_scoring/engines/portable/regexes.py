"""An author's regular expressions, bounded: a pattern that backtracks for ever ends with a clear error."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.model.errors import BudgetExceeded

MAX_SECONDS = 5.0
_IN_LOOP = 20_000  # characters that are searched without leaving the event loop


def compile_pattern(text: str, source: ScoreSource, *path: Any) -> str:
    """Compile a pattern of the scorecard, and return it. Raises ScorecardError."""
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    try:
        _compiled(text, ignore_case=False)
    except regex.error as error:
        raise source.error(f"{text!r} is no regular expression: {error}", *path) from error
    return text


def search(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether a pattern is found. Raises BudgetExceeded if looking takes more than 5 s."""
    try:
        found = _compiled(pattern, ignore_case=ignore_case).search(text, timeout=MAX_SECONDS)
    except TimeoutError as error:
        raise BudgetExceeded(
            f"the regular expression {pattern!r} took more than {MAX_SECONDS:g} s on this text: simplify it"
        ) from error
    return found is not None


async def search_apart(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Like `search`; on a long text in a thread."""
    if len(text) <= _IN_LOOP:
        return search(pattern, text, ignore_case=ignore_case)
    return await asyncio.to_thread(search, pattern, text, ignore_case=ignore_case)


@lru_cache(maxsize=512)
def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
