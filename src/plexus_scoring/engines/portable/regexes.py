"""An author's regular expressions, bounded: a pattern that backtracks for ever ends with a clear error."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.model.errors import BudgetExceeded

MAX_SECONDS = 5.0
INLINE_SECONDS = 0.02


def compile_pattern(text: str, source: ScoreSource, *path: Any) -> str:
    """Compile a pattern of the scorecard, and return it. Raises ScorecardError."""
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    try:
        _compiled(text, ignore_case=False)
    except regex.error as error:
        raise source.error(f"{text!r} is no regular expression: {error}", *path) from error
    return text


async def found_in(text: str, pattern: str, *, ignore_case: bool = False) -> bool:
    """Whether a pattern is found. What is not found within 20 ms is looked for in a thread, the event loop being free.

    Raises:
        BudgetExceeded: looking takes more than 5 s.
    """
    search = _compiled(pattern, ignore_case=ignore_case).search
    try:
        return search(text, timeout=INLINE_SECONDS) is not None
    except TimeoutError:
        pass
    try:
        return await asyncio.to_thread(search, text, timeout=MAX_SECONDS) is not None
    except TimeoutError as error:
        raise BudgetExceeded(
            f"the regular expression {pattern!r} took more than {MAX_SECONDS:g} s on this text: simplify it"
        ) from error


@lru_cache(maxsize=512)
def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
