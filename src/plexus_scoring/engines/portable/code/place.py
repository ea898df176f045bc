"""Where a scorecard's code stands, and the errors that point there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plexus_scoring.model.errors import ScorecardError, ScoreFailed

MAX_MESSAGE: Final = 2_000
"""Characters of an exception's message that are kept. A message may be as large as the interpreter's memory."""


class CodeRaised(ScoreFailed):
    """The code raised an exception.

    Attributes:
        where: Place and class of the exception, for logs: the exception's message may quote the item.
    """

    def __init__(self, place: str, error: BaseException) -> None:
        """Describe an exception that was raised at a place."""
        self.where = f"{place}: {type(error).__name__}"
        super().__init__(f"{place}: {summary(error)}")


@dataclass(frozen=True)
class CodePlace:
    """Where code stands, for its error messages.

    Attributes:
        name: What it is the code of, for example score and node.
        file: The scorecard's file.
        first_line: The line of the file that the code's first line is on; None where lines cannot be told.
    """

    name: str
    file: str | None = None
    first_line: int | None = None

    def __str__(self) -> str:
        return self.name

    def at(self, line: int | None) -> str:
        """Return the place of a line of the code (from 1), in front of a message."""
        if line is None:
            return self.name
        known = self.line(line)
        if known is None:
            return f"{self.name}: line {line} of the code"
        if self.file:
            return f"{self.file}:{known}: {self.name}"
        return f"{self.name}: line {known} of the scorecard"

    def line(self, line: int | None) -> int | None:
        """Return the file's line of a line of the code, if it can be told."""
        if line is None or self.first_line is None:
            return None
        return self.first_line + line - 1

    def error(self, message: str, line: int | None = None) -> ScorecardError:
        """Return an error at a line of the code; its message says the line where the file's is not known."""
        known = self.line(line)
        if line is not None and known is None:
            message = f"{message} (line {line} of the code)"
        return ScorecardError(message, file=self.file, line=known)


def summary(error: BaseException) -> str:
    """Return an exception's class and message, cut to `MAX_MESSAGE` characters."""
    text = str(error)[:MAX_MESSAGE]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
