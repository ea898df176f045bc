"""Quotes that a model gives, and where they stand in a text."""

from __future__ import annotations

from collections.abc import Iterator

MAX_WORK = 2_000_000_000
"""Bound on the comparison of all windows, in 64-bit steps: a second or two of a core."""

_WORD = 64


def clean_quote(answer: str) -> str:
    """Return the quote without the quotation marks and the "Quote:" that models put around it."""
    quote = answer.strip().strip('"')
    if quote.startswith("Quote:"):
        quote = quote[len("Quote:") :].strip()
    return quote.strip("\"'")


def find_similar(quote: str, text: str, cutoff: float) -> str | None:
    """Return the stretch of `text`, as long as `quote`, that is most like it; None if none reaches `cutoff` (0..100).

    All windows are compared, as upstream does; the first of equals wins. Where that would take too long (a quote of
    many thousand characters in a text of a million), the best alignment is taken instead.
    """
    if not quote:
        return None
    windows = len(text) - len(quote.split()) + 1
    if windows <= 0:
        return None
    exact = text.find(quote)
    if 0 <= exact < windows:
        return quote
    from rapidfuzz import fuzz, process  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

    length = len(quote)
    if windows * length * (length // _WORD + 1) // _WORD > MAX_WORK // _WORD:
        aligned = fuzz.partial_ratio_alignment(quote, text, score_cutoff=cutoff)
        return text[aligned.dest_start : aligned.dest_end] if aligned else None
    found = process.extractOne(quote, _windows(text, length, windows), scorer=fuzz.ratio)
    if found[1] <= 0 or found[1] < cutoff:
        return None
    return str(found[0])


def _windows(text: str, length: int, count: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(count))
