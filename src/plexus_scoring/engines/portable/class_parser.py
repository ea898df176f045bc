"""Finds a valid class in what a model answered, with upstream's rules.

Text is compared in lower case without punctuation, underscores as spaces, line by line and as whole words. From the
end: the last match counts, and within a longer class no shorter one does. From the start: the first line's
first class *in the order of the list* counts, wherever in the line it stands.
"""

from __future__ import annotations

from collections.abc import Sequence


def normalize(text: str) -> str:
    """Return `text` in the form in which classes are compared."""
    spaced = " ".join(text.replace("_", " ").split())
    return "".join(char.lower() for char in spaced if char.isalnum() or char.isspace())


class ClassParser:
    """Parses answers for one list of classes."""

    def __init__(self, classes: Sequence[str], *, from_start: bool = False) -> None:
        """Normalize the classes once."""
        self.from_start = from_start
        # A class of symbols alone has no word to look for: upstream never ends on it.
        named = [(name, normalize(name)) for name in classes]
        self._classes = [(name, words) for name, words in named if words]
        self._symbols = [name for name, words in named if not words and name.strip()]
        if not from_start:
            self._classes.sort(key=lambda entry: len(entry[1]), reverse=True)

    def parse(self, answer: str) -> str | None:
        """Return the class that the answer names, None if it names none."""
        lines = answer.strip().split("\n")
        if self.from_start:
            for line in lines:
                found = self._first(normalize(line))
                if found is not None:
                    return found
        else:
            for line in reversed(lines):
                found = self._last(normalize(line))
                if found is not None:
                    return found
        return self._symbol(answer)

    def _first(self, line: str) -> str | None:
        return next((name for name, words in self._classes if _find(line, words)), None)

    def _last(self, line: str) -> str | None:
        matches: list[tuple[int, int, str]] = []
        for name, words in self._classes:
            for position in _find(line, words):
                inside = any(
                    start <= position < start + length and length > len(words)
                    for start, length, _ in matches
                )
                if not inside:
                    matches.append((position, len(words), name))
        best: tuple[int, int, str] | None = None
        for match in matches:  # the first of those that begin last, as a stable sort would have it
            if best is None or match[0] > best[0]:
                best = match
        return best[2] if best else None

    def _symbol(self, answer: str) -> str | None:
        words = answer.split()
        found = [word for word in words if word in self._symbols]
        if not found:
            return None
        return found[0] if self.from_start else found[-1]


def _find(line: str, words: str) -> list[int]:
    """Return where `words` stands in `line` as whole words."""
    found = []
    position = 0
    while (position := line.find(words, position)) != -1:
        end = position + len(words)
        before = position == 0 or line[position - 1].isspace()
        after = end == len(line) or line[end].isspace()
        if before and after:
            found.append(position)
            position = end
        else:
            position += 1
    return found
