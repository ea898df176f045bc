"""Speaker labels of a transcript: number them, hide them, remove them, keep one side.

Every pattern reads each character a bounded number of times: runs of blanks are matched possessively and only
from their first character, so that a megabyte of blanks costs no more than a megabyte of words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_SIDES: Final = r"(Agent:|Customer:|Contact:|Representative:|Rep:)"
_CUSTOMER: Final = frozenset({"Customer:", "Contact:"})
_LABEL: Final = re.compile(_SIDES)
_GLUED_BEFORE: Final = re.compile(r"(?<!\s)" + _SIDES)
_GLUED_AFTER: Final = re.compile(_SIDES + r"(?!\s)")
_TURN: Final = re.compile(r"(?<!\s)\s++" + _SIDES + r"\s++")

_TURN_START: Final = re.compile(r"(?:\A|(?<=\n)|(?<=\. ))(\w++):\s*+")
_ANY_LABEL: Final = re.compile(r"\b\w++:\s*+")

_KNOWN_LABEL: Final = re.compile(
    r"(?:(?<=\s)|^)(?:speaker(?:\s*[A-Za-z0-9_-]+)?|unknown\s++speaker|agent|customer|contact|representative|rep)\s*+:\s*+",
    re.IGNORECASE | re.MULTILINE,
)
_LEADING_LABEL: Final = re.compile(
    r"(?:(?<=\n)|(?<=\.\s)|^)[A-Za-z][A-Za-z0-9_-]{1,31}\s*+:\s*+", re.MULTILINE
)
_BLANKS: Final = re.compile(r"[ \t]{2,}+")
_LINE_ENDS: Final = re.compile(r"(?<![ \t])[ \t]*+\n[ \t]*+")

_LETTERS: Final = 26


def keep_customer(text: str, parameters: Mapping[str, Any]) -> str:
    """Return what the customer said, without the labels, in one line per run of text; all of it without labels."""
    del parameters
    if not _LABEL.search(text):
        return text
    spaced = _GLUED_AFTER.sub(r"\1 ", _GLUED_BEFORE.sub(r" \1", text))
    _, *turns = _TURN.split(spaced)
    said = zip(turns[::2], turns[1::2], strict=True)
    return " ".join(words.strip() for label, words in said if label in _CUSTOMER)


def enumerate_speakers(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the text with its speakers named ``Speaker A``, ``Speaker B`` … in order of appearance."""
    del parameters
    labels: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        label = labels.setdefault(match[1], _letters(len(labels)))
        return f"Speaker {label}: "

    return _TURN_START.sub(rename, text)


def _letters(index: int) -> str:
    """Return A … Z, AA … ZZ; beyond that what Plexus's arithmetic gives."""
    first, last = divmod(index, _LETTERS)
    return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + last)


def mark_speakers_unknown(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the text with every ``word:`` replaced by ``Unknown Speaker:``."""
    del parameters
    return _ANY_LABEL.sub("Unknown Speaker: ", text)


def remove_speakers(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the text without speaker labels, and without the blanks that they leave behind."""
    del parameters
    unlabelled = _LEADING_LABEL.sub("", _KNOWN_LABEL.sub("", text))
    return _LINE_ENDS.sub("\n", _BLANKS.sub(" ", unlabelled)).strip()
