"""Reads what a function's process writes, and keeps the end of it for ``LogType=Tail``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from plexus_scoring.local.function import LOG_TAIL_BYTES

LogSink = Callable[[bytes], object]

_CHUNK = 64 * 1024
# A pipe holds 64 KB; a thread that never stops writing must not hold up an answer.
_MAX_DRAIN_READS = 16


class LogTail:
    """A pipe for stdout and stderr, read in the event loop.

    What the process wrote before it answered is in the pipe when the answer arrives, so `drain` at
    that moment gives an invocation exactly its own lines; no waiting is needed.

    Environments of one function share a sink, so it is given whole lines only: what is read may end anywhere.
    """

    def __init__(self, sink: LogSink | None = None) -> None:
        self._sink = sink
        self._tail = bytearray()
        self._line = bytearray()
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_end, self._read_once)

    def close_write_end(self) -> None:
        """Close our copy of the writing end, once the process has its own."""
        os.close(self.write_end)

    def add(self, line: str) -> None:
        """Add a line of the platform's own (START, END, REPORT)."""
        if self._line:  # the process did not end its own
            self._keep(b"\n")
        self._keep(line.encode() + b"\n")

    def drain(self) -> bytes:
        """Read what is there and return the tail."""
        for _ in range(_MAX_DRAIN_READS):
            if not self._read_once():
                break
        return bytes(self._tail)

    def reset(self) -> None:
        """Forget the tail: the next invocation begins."""
        self._tail.clear()

    def close(self) -> None:
        """Read the rest and close the pipe."""
        self.drain()
        if self._line:
            self._give(b"\n")
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)

    def _read_once(self) -> bool:
        try:
            chunk = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:  # every writer is gone
            self._loop.remove_reader(self._read_end)
            return False
        self._keep(chunk)
        return True

    def _keep(self, chunk: bytes) -> None:
        self._tail += chunk
        del self._tail[:-LOG_TAIL_BYTES]
        self._give(chunk)

    def _give(self, chunk: bytes) -> None:
        """Hand the lines that are whole to the sink."""
        ended, newline, rest = chunk.rpartition(b"\n")
        if newline:
            self._line += ended + newline
            if self._sink is not None:
                self._sink(bytes(self._line))
            self._line.clear()
        self._line += rest
