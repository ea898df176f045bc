"""What the package logs and prints while it scores goes to the job's own log, and nowhere else.

It writes texts and metadata at INFO. Those belong into the log that is kept with the result, not into the
process's lines.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from plexus_scoring.telemetry.logs import JobLogHandler

_inside: ContextVar[bool] = ContextVar("plexus_scoring_inside_plexus", default=False)
_printed = logging.getLogger("plexus.stdout")


class _OutsideOnly(logging.Filter):
    """Lets the package's lines pass from WARNING on."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or not _inside.get()


class _JobStdout(io.TextIOBase):
    """A stdout that takes a print of the package as a line of the job's log."""

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind

    def write(self, text: str) -> int:
        if not _inside.get():
            return self.behind.write(text)
        for line in text.splitlines():
            if line.strip():
                _printed.info("%s", line)
        return len(text)

    def flush(self) -> None:
        self.behind.flush()


_quiet = _OutsideOnly()


@contextmanager
def captured() -> Iterator[None]:
    """Everything that the block (and the tasks it starts) logs or prints goes to the log of the job at hand."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, JobLogHandler) and _quiet not in handler.filters:
            handler.addFilter(_quiet)
    if not isinstance(sys.stdout, _JobStdout):
        sys.stdout = _JobStdout(sys.stdout)
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def restore() -> None:
    """Give the process its stdout and its handlers back."""
    if isinstance(sys.stdout, _JobStdout):
        sys.stdout = sys.stdout.behind
    for handler in logging.getLogger().handlers:
        handler.removeFilter(_quiet)
