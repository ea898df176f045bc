"""An author's regular expressions, bounded: a pattern that backtracks for ever ends with a clear error."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.model.errors import BudgetExceeded, shorten

MAX_SECONDS = 5.0
INLINE_SECONDS = 0.02
MAX_CHARACTERS = 20_000
MAX_SIZE = 100_000
_COUNT = re.compile(r"\{\s*(\d+)")
# Sets and comments are not told apart from the rest: what hides a call from this would hide it for good.
_CALL = re.compile(r"\\.|(?P<call>\(\?(?:R|\d|&|P>))", re.DOTALL)
_VERBOSE = re.compile(r"\(\?[A-Za-z0-9]*x")


def compile_pattern(text: str, source: ScoreSource, *path: Any) -> str:
    """Compile a pattern of the scorecard, and return it. Raises ScorecardError."""
    problem = problem_of(text)
    if problem:
        raise source.error(problem, *path)
    return text


def problem_of(pattern: str) -> str | None:
    """Return why a pattern cannot be used, None if it can."""
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    if len(pattern) > MAX_CHARACTERS or _size(pattern) > MAX_SIZE:
        return (
            f"{shorten(repr(pattern), 80)} is too large a regular expression: at most {MAX_CHARACTERS:,} characters, "
            f"and {MAX_SIZE:,} once its counts, as in {{1000}}, are written out"
        )
    if any(found["call"] for found in _CALL.finditer(pattern)):
        return (
            f"{shorten(repr(pattern), 200)} calls itself or a group, as in (?R) or (?1): write out what it repeats, "
            "since Python's `re` knows no such calls"
        )
    try:
        _compiled(pattern, ignore_case=False)
    except (regex.error, RecursionError) as error:
        return f"{shorten(repr(pattern), 200)} is no regular expression: {error}"
    return None


def _size(pattern: str) -> int:
    """Return at least how many parts the compiled pattern has: a count repeats what stands before it in memory.

    A count behind a group is taken for one of all that was before, so that nothing hides in a class or a comment.
    """
    spaced = _VERBOSE.search(pattern) is not None
    size = done = 0
    for count in _COUNT.finditer(pattern):
        size += count.start() - done
        done = count.end()
        times = max(int(count[1][:7]), 1)
        group = spaced or pattern[: count.start()].endswith(")")
        size = min(size * times if group else size + times, MAX_SIZE + 1)
    return size + len(pattern) - done


async def found_in(text: str, pattern: str, *, ignore_case: bool = False) -> bool:
    """Whether a pattern is found. What is not found within 20 ms is looked for in a thread, the event loop being free.

    Raises:
        BudgetExceeded: looking takes more than 5 s, or more memory than there is.
    """
    search = _compiled(pattern, ignore_case=ignore_case).search
    try:
        with suppress(TimeoutError):
            return search(text, timeout=INLINE_SECONDS) is not None
        return await asyncio.to_thread(search, text, timeout=MAX_SECONDS) is not None
    except TimeoutError as error:
        raise BudgetExceeded(
            f"the regular expression {pattern!r} took more than {MAX_SECONDS:g} s on this text: simplify it"
        ) from error
    except MemoryError as error:
        raise BudgetExceeded(
            f"the regular expression {pattern!r} took too much memory on this text: simplify it"
        ) from error


@lru_cache(maxsize=512)
def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    import regex  # noqa: PLC0415 - 25 ms that only patterns pay

    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
