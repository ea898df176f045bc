"""JSON log lines with the ids of the job at hand, and a log of its own for each job.

`job_scope` puts the ids into a context variable; `JsonFormatter` writes them on every line logged within, and
`JobLogHandler` gathers those lines for the job's `log.txt`, however many jobs are in flight at once.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

MAX_LOG_CHARACTERS = 1_000_000
_OWN = ("plexus_scoring", "lambda_functions")
# Their own lines hold headers and bodies below WARNING.
_NOISY = (
    "botocore", "boto3", "urllib3", "s3transfer", "httpx", "httpcore", "httpx2", "httpcore2", "openai",
)  # fmt: skip
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JobScope:
    """The ids of the job at hand, the lines logged for it so far, and the trace of scores that did not end."""

    __slots__ = ("_length", "fields", "lines", "trace")

    def __init__(self, **fields: str | int) -> None:
        """Start with these ids and no lines."""
        self.fields: dict[str, str | int] = fields
        self.lines: list[str] = []
        self.trace: list[Any] = []
        self._length = 0

    def write(self, line: str) -> None:
        """Keep a line, up to `MAX_LOG_CHARACTERS` in all."""
        if self._length > MAX_LOG_CHARACTERS:
            return
        self._length += len(line) + 1
        self.lines.append(line if self._length <= MAX_LOG_CHARACTERS else "… the log is cut here")

    def text(self) -> str:
        """Return the log."""
        return "".join(f"{line}\n" for line in self.lines)


_scope: ContextVar[JobScope | None] = ContextVar("plexus_scoring_job", default=None)


@contextmanager
def job_scope(**fields: str | int) -> Iterator[JobScope]:
    """Give every line logged within these ids, and gather them."""
    scope = JobScope(**fields)
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the job's ids, and what `extra` brought."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        scope = _scope.get()
        if scope is not None:
            line |= scope.fields
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class JobLogHandler(logging.Handler):
    """Appends each line to the log of the job at hand, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        scope = _scope.get()
        if scope is None:
            return
        text = (
            f"{_timestamp(record.created)} {record.levelname} {record.name}: {record.getMessage()}"
        )
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        scope.write(text)


def keep_line(record: logging.LogRecord) -> None:
    """Put a line into the log of the job at hand, and nowhere else: it may quote the item."""
    _job_log.emit(record)


def keep_trace(entries: Iterable[Any]) -> None:
    """Keep the trace of a score that ends without an outcome, for the job's failed attempt."""
    scope = _scope.get()
    if scope is not None:
        scope.trace.extend(entries)


_job_log = JobLogHandler()


def configure_logging(level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Send JSON lines to `stream` (default: stderr), and each job's lines to its own log as well.

    Libraries log from WARNING on; at DEBUG, what they have to say. Replaces the root logger's handlers: the Lambda
    runtime installs one that would print every line twice.
    """
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [output, JobLogHandler()]
    known = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    root.setLevel(known if known <= logging.DEBUG else max(known, logging.WARNING))
    for own in _OWN:
        logging.getLogger(own).setLevel(known)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _timestamp(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created % 1 * 1000):03d}Z"
