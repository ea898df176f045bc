"""What both hosts share: messages over pipes, the log of a job, and the bounds of the process.

A message is four bytes of length (big-endian) and that much JSON. Standard library only: the interpreter that runs
this has Plexus's packages and none of the service's.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4
_MOST_LINES = 64
MAX_MESSAGE_BYTES = 256 << 20
_LOG_SECONDS = 0.5


class Decoder:
    """Cuts what comes out of a pipe into messages."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the messages that are whole by now. Raises ValueError for what is none."""
        self._waiting += data
        while len(self._waiting) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._waiting)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError("this message is too long")
            end = _LENGTH.size + length
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_LENGTH.size : end])
            del self._waiting[:end]
            yield json.loads(body)


class Wire:
    """Sends messages. Any thread may."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Write a message. A reader that is gone ends the process: nobody is left to work for."""
        body = json.dumps(message, default=as_json).encode("utf-8", "surrogatepass")
        data = memoryview(_LENGTH.pack(len(body)) + body)
        with self._lock:
            try:
                while data:
                    data = data[os.write(self.descriptor, data) :]
            except BrokenPipeError:
                os._exit(0)


def as_json(value: Any) -> Any:
    """Return what JSON has no word for: decimals as numbers, anything else as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


class JobLog:
    """The lines of one job, sent in batches: Plexus writes a hundred lines a score."""

    current: ContextVar[JobLog | None] = ContextVar("host_job_log", default=None)

    def __init__(self, wire: Wire, job: int) -> None:
        self._wire = wire
        self._job = job
        self._lines: list[tuple[float, int, str, str]] = []
        self._sent = time.monotonic()

    def add(self, record: logging.LogRecord) -> None:
        """Keep a line, and send what has gathered from time to time."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._lines.append((record.created, record.levelno, record.name, text))
        if len(self._lines) >= _MOST_LINES or time.monotonic() - self._sent > _LOG_SECONDS:
            self.send()

    def send(self) -> None:
        """Send the lines that are waiting."""
        lines, self._lines = self._lines, []
        self._sent = time.monotonic()
        if lines:
            self._wire.send({"id": self._job, "log": lines})


class JobLogHandler(logging.Handler):
    """Gives each line to the job at hand. A line outside of any job is nobody's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        log = JobLog.current.get()
        if log is not None:
            try:
                log.add(record)
            except Exception:  # noqa: BLE001  as every handler: a line that cannot be made ends no score
                self.handleError(record)


class PrintedLines(io.TextIOBase):
    """A stdout that takes a print as a line of the job's log."""

    def write(self, text: str) -> int:
        """Log every line that is not blank."""
        for line in text.splitlines():
            if line.strip():
                logging.getLogger("plexus.stdout").info("%s", line)
        return len(text)


def own_the_log() -> None:
    """Make the jobs' logs the only place of lines. Libraries put handlers up when they are imported."""
    root = logging.getLogger()
    root.handlers[:] = [JobLogHandler()]
    root.setLevel(os.environ.get("LOG_LEVEL", "INFO").upper())
    logging.raiseExceptions = False


def start() -> tuple[Wire, dict[str, Any]]:
    """Bound this process, take its environment and the pipes for messages, and say which packages are here.

    The environment comes as the first message: what a process is started with, /proc shows to Lua that reads files.

    Returns:
        The way to the service, and the options that it gave.
    """
    options: dict[str, Any] = json.loads(sys.argv[1])
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("500")  # the kernel is to end this process before the service
    die_with_parent()
    decoder = Decoder()
    while not (first := list(decoder.feed(os.read(0, 4_096) or sys.exit()))):
        pass
    os.environ.update(first[0]["environ"])
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(
        _PR_SET_DUMPABLE, 0
    )  # another process of this user can read neither memory nor environment
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.get("memory_bytes"):
        limit_memory(options["memory_bytes"])
    wire = Wire(os.dup(1))
    os.dup2(2, 1)
    sys.stdout = PrintedLines()
    own_the_log()
    wire.send({"hello": {"python": sys.version.split()[0], **installed()}})
    return wire, options


def die_with_parent() -> None:
    """Let the kernel end this process with the one that started it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def limit_memory(size: int) -> None:
    """Let this process map no more than `size` bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def installed() -> dict[str, str | None]:
    """Return the versions of Plexus and tactus, without importing them. PyPI's `plexus` is an unrelated project."""
    found: dict[str, str | None] = {"plexus": None, "tactus": None, "unrelated": None}
    for name, mark in (("plexus", "Scorecard.py"), ("tactus", "core/runtime.py")):
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        try:
            about = importlib.metadata.metadata(name)
            version, summary = str(about["Version"]), str(about["Summary"])
        except importlib.metadata.PackageNotFoundError:
            version, summary = "of unknown version", ""
        places = list(spec.submodule_search_locations or ())
        if places and os.path.isfile(os.path.join(places[0], mark)):  # noqa: PTH113, PTH118
            found[name] = version
        else:
            found["unrelated"] = f"{name} {version}: {summary}"
    return found


def model_calls(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the model calls that a run of tactus counted, each with its tokens and its cost in USD."""
    calls = [
        {
            "agent": getattr(call, "agent_name", None),
            "provider": getattr(call, "provider", None),
            "model": getattr(call, "model", None),
            "prompt_tokens": getattr(call, "prompt_tokens", 0),
            "completion_tokens": getattr(call, "completion_tokens", 0),
            "cached_tokens": getattr(call, "cache_tokens", 0),
            "input_cost": getattr(call, "prompt_cost", 0.0),
            "output_cost": getattr(call, "completion_cost", 0.0),
            "usd": getattr(call, "total_cost", 0.0),
        }
        for call in result.get("cost_breakdown") or ()
    ]
    if not calls and (result.get("total_cost") or result.get("total_tokens")):
        # Without a list of calls tactus tells one number of tokens, prompt and answer together.
        total = {"prompt_tokens": result.get("total_tokens"), "usd": result.get("total_cost")}
        return [{"provider": "tactus", **total}]
    return calls
