"""Where sentences end: the rules of an untrained Punkt tokenizer (Kiss and Strunk 2006), which upstream uses.

Untrained, it knows no abbreviations. What is left: a mark (. ? !) ends a sentence where a space or other punctuation
follows, but not in an ellipsis, and not after an initial or a number that a small letter or punctuation
follows (an initial: also a capital). Closing quotes and brackets after the mark belong to the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARKS = ".?!"
_NON_WORD = r"[)\";}\]*:@'({\[?!]"
_ELLIPSIS = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_CANDIDATE = re.compile(rf"[.?!](?=(?P<after>{_NON_WORD}|\s+(?P<next>\S+)))")
_TOKEN = re.compile(
    rf"{_ELLIPSIS}"
    rf"|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_NON_WORD}|{_ELLIPSIS}|,(?=$|\s|{_NON_WORD}|{_ELLIPSIS}))"
    r"|\S"
)
_CLOSING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_INITIAL = re.compile(r"[^\W\d]\.\Z")
_NUMBER = re.compile(r"-?[.,]?\d[\d,.\-]*\.?\Z")
_DOTS = re.compile(r"\.\.+\Z")
_SPACE = " \t\n\r\x0b\x0c"


def split_sentences(text: str) -> list[str]:
    """Return the sentences, without the space between them."""
    return [text[start:stop] for start, stop in _aligned(text) if start < stop]


def _aligned(text: str) -> Iterator[tuple[int, int]]:
    """Give closing quotes and brackets to the sentence before them."""
    pieces = list(_pieces(text))
    skip = 0
    for number, (begin, end) in enumerate(pieces):
        start = begin + skip
        if number + 1 == len(pieces):
            yield start, end
            return
        following = pieces[number + 1]
        closing = _CLOSING.match(text, *following)
        if closing:
            yield start, following[0] + len(closing.group().rstrip())
            skip = closing.end() - following[0]
        else:
            skip = 0
            yield start, end


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for mark, context in _candidates(text):
        if _breaks(context):
            yield begin, mark.end()
            begin = mark.start("next") if mark["next"] else mark.end()
    yield begin, len(text.rstrip())


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Return the last mark of each word that has any, with the word and what follows it."""
    held: re.Match[str] | None = None
    start = stop = 0  # the word before the held mark
    for mark in _CANDIDATE.finditer(text):
        word = _word_start(text, stop, mark.start(), start)
        if held is not None and stop <= word:
            yield held, text[start:stop] + held.group() + held["after"]
        held, start, stop = mark, word, mark.start()
    if held is not None:
        yield held, text[start:stop] + held.group() + held["after"]


def _word_start(text: str, low: int, high: int, otherwise: int) -> int:
    for index in range(high - 1, low, -1):
        if text[index] in _SPACE:
            return index + 1
    return otherwise


def _breaks(context: str) -> bool:
    """Whether a sentence ends within the context, before its last token."""
    tokens = [found.group() for line in context.split("\n") for found in _TOKEN.finditer(line)]
    return any(_ends(token, tokens[number + 1]) for number, token in enumerate(tokens[:-1]))


def _ends(token: str, following: str) -> bool:
    if token in _MARKS:
        return True
    if not token.endswith(".") or token.endswith("..") or _DOTS.search(token):
        return False
    initial = bool(_INITIAL.match(token))
    if not initial and not _NUMBER.match(token):
        return True
    if following in (";", ":", ",", ".", "!", "?") or following[0].islower():
        return False
    return not (initial and following[0].isupper())
