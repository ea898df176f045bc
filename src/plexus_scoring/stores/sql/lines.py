"""Cuts the line of a transaction that gets no answer.

A server that stopped without closing its connections, or a proxy before it that does not notice, answers keepalives and
nothing else: the thread that waits for it would wait for ever, and neither work nor the process's end would come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, event

_LINE = "plexus_line"


class Lines:
    """The connections of the transactions under way, each with when it began."""

    def __init__(self, engine: Engine, *, limit: float) -> None:
        """Know the connections of a PostgreSQL `engine`; transactions may take `limit` seconds."""
        self._limit = limit
        self._under_way: dict[int, tuple[float, socket.socket]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        event.listen(engine, "connect", _remember)
        event.listen(engine, "close", _forget)

    @contextlib.contextmanager
    def under_way(self, connection: Connection) -> Iterator[None]:
        """Let the block's connection be cut."""
        thread = threading.get_ident()
        self._under_way[thread] = (time.monotonic(), connection.info[_LINE])
        try:
            yield
        finally:
            del self._under_way[thread]

    def watch(self) -> None:
        """Look after what is under way from now on, in the running loop, until `close`.

        Not only while something is: a thread may be on its way to a connection yet.
        """
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:  # a loop that ended runs no timers
            self._loop = loop
            self._timer = loop.call_later(self._limit / 2, self._look)

    def cut(self, *, older_than: float = 0.0) -> None:
        """Cut transactions that began longer ago than that: their threads get an error at once."""
        now = time.monotonic()
        for began, line in list(self._under_way.values()):
            if now - began >= older_than:
                with contextlib.suppress(OSError):  # it ended meanwhile
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut what is still under way, and look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.cut()

    def _look(self) -> None:
        self._timer = None
        self.cut(older_than=self._limit)
        self.watch()


def _remember(connection: Any, record: Any) -> None:
    # A descriptor of our own: the driver's number may be another file's by the time that we cut.
    record.info[_LINE] = socket.socket(fileno=os.dup(connection.pgconn.socket))


def _forget(_connection: Any, record: Any) -> None:
    line = record.info.pop(_LINE, None)
    if line is not None:
        line.close()
