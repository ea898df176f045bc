"""A database behind an event loop: its engine, the threads that wait for it, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from plexus_scoring.model.errors import (
    ConfigurationError,
    InvalidRequest,
    ScoringError,
    StoreUnavailable,
    shorten,
)
from plexus_scoring.stores.sql.lines import Lines
from plexus_scoring.stores.sql.postgresql import Pooled, Prepare, make_engine

T = TypeVar("T")

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()
_ATTEMPTS = 3
# PostgreSQL's "serialization failure" and "deadlock detected": the transaction did nothing, do it again.
_AGAIN = {"40001", "40P01"}
# PostgreSQL's "undefined table" and "undefined column".
_UNDEFINED = {"42P01", "42703"}
_NO_URL = (
    "PLEXUS_DATABASE_URL is no database URL: use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE, "
    "with @ : / ? # within a user's name or password percent-encoded (%40 for @)"
)
_SQLITE_BUSY_MS = 10_000
# Longer than the server lets a statement run: only a server or a line that is stuck takes so long.
UNANSWERED_SECONDS = 30.0


class Database:
    """One database. Blocking calls run in threads of our own: a few that write, a few that read.

    SQLAlchemy's synchronous engine in threads serves SQLite and PostgreSQL with the same code. The fastest asynchronous
    driver would save 0.07 ms of CPU a job, which is not what bounds a worker (``docs/adr/0007-group-commit.md``).
    """

    def __init__(
        self,
        url: str,
        *,
        writers: int | None = None,
        readers: int = 4,
        unanswered_seconds: float = UNANSWERED_SECONDS,
        prepare: Prepare = "auto",
    ) -> None:
        parsed = parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.writers = 1 if self.is_sqlite else writers or 2
        # Without the options after "?", where a password may stand as well.
        self.name = parsed.set(query={}).render_as_string(hide_password=True)
        connections = self.writers + readers
        self.pooled: Pooled | None = None
        self._lines: Lines | None = None
        if self.is_sqlite:
            self.engine = _sqlite(parsed, connections=connections)
        else:
            self.engine, self.pooled = make_engine(parsed, connections=connections, prepare=prepare)
            self._lines = Lines(self.engine, limit=unanswered_seconds)
        self._closed = False
        self._write_threads = ThreadPoolExecutor(self.writers, "sql-write")
        self._read_threads = ThreadPoolExecutor(readers, "sql-read")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; it may be run again, so it must have no other effect."""
        return await self._run(self._write_threads, work, write=True)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads, in a transaction."""
        return await self._run(self._read_threads, work, write=False)

    def describe(self, connection: Connection) -> str:
        """Say in a few words what is at the other end of a connection."""
        if self.pooled is None:
            return "SQLite"
        return self.pooled.describe(connection)

    async def aclose(self) -> None:
        """Close all connections, and cut those that wait for an answer. Safe to call twice."""
        self._closed = True
        if self._lines is not None:
            self._lines.close()
        for threads in (self._write_threads, self._read_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        self.engine.dispose()

    async def _run(
        self, threads: ThreadPoolExecutor, work: Callable[[Connection], T], *, write: bool
    ) -> T:
        loop = asyncio.get_running_loop()
        if self._lines is not None:
            self._lines.watch()
        try:
            return await loop.run_in_executor(threads, self.transaction, work, write)
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise StoreUnavailable(f"database {self.name} is closed") from error
            raise

    def transaction(self, work: Callable[[Connection], T], write: bool) -> T:  # noqa: FBT001  run_in_executor takes no keywords
        """Run `work` in a transaction in this thread."""
        attempt = 0
        while True:
            attempt += 1
            try:
                with self.engine.connect() as connection, self._cuttable(connection):
                    connection.execution_options(plexus_write=write)
                    with connection.begin():
                        return work(connection)
            except SQLAlchemyError as error:
                if attempt < _ATTEMPTS and _may_pass_at_once(error) and not self._closed:
                    continue
                raise translate(error, self.name) from error

    def _cuttable(self, connection: Connection) -> AbstractContextManager[None]:
        return _NOTHING if self._lines is None else self._lines.under_way(connection)


_ADVICE = {
    "unable to open database file": ". Run `plexus-scoring db upgrade`, which makes it, or correct PLEXUS_DATABASE_URL",
    "readonly database": ". Let this user write the file and its folder",
    "connection refused": " Start the server, or set PLEXUS_DATABASE_URL to one that runs",
    "could not translate host name": ". Check the host in PLEXUS_DATABASE_URL",
    "failed to resolve host": ". Check the host in PLEXUS_DATABASE_URL",
    "password authentication failed": ". Check user and password in PLEXUS_DATABASE_URL",
    "too many connections": ". Run fewer workers, or put a pooler in between",
    "too many clients": ". Run fewer workers, or put a pooler in between",
    "no more connections allowed": ". Run fewer workers, or raise the pooler's max_client_conn",
}


def parse_url(url: str) -> URL:
    """Return the URL with our driver. Raises ConfigurationError, which quotes nothing: any part may be a password's."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise ConfigurationError(_NO_URL) from None
    if "@" in (parsed.host or ""):
        raise ConfigurationError(_NO_URL)
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigurationError(
            f"PLEXUS_DATABASE_URL: {backend} is not supported; use sqlite:///FILE or postgresql://…"
        )
    if parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            "PLEXUS_DATABASE_URL: SQLite in memory has no use here; name a file or set PLEXUS_STORE=memory"
        )
    return parsed


def translate(error: SQLAlchemyError, name: str) -> ScoringError:
    """Return what a failed call means. Only what is wrong with the data is InvalidRequest."""
    reason = shorten(str(getattr(error, "orig", None) or error), 300)
    if isinstance(error, DataError):
        return InvalidRequest(f"database {name} refuses the data: {reason}")
    if _is_without_schema(error):
        return StoreUnavailable(
            f"database {name} has no tables of this version: run `plexus-scoring db upgrade`"
        )
    advice = next((what for said, what in _ADVICE.items() if said in reason.lower()), "")
    return StoreUnavailable(f"database {name}: {reason}{advice}")


def _is_without_schema(error: SQLAlchemyError) -> bool:
    orig = getattr(error, "orig", None)
    return getattr(orig, "sqlstate", None) in _UNDEFINED or str(orig).startswith(
        ("no such table", "no such column")
    )


def _may_pass_at_once(error: SQLAlchemyError) -> bool:
    """Whether the transaction surely or possibly did nothing for a reason that is over by now.

    After a lost connection a commit may have happened: operations recognise their own work when run again.
    """
    if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _AGAIN


def _sqlite(url: URL, *, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0, pool_timeout=10)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where _begin says so
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(
            "PRAGMA synchronous = FULL"
        )  # with WAL, NORMAL may lose what was acknowledged
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads before it writes must hold the write lock from the start.
        write = connection.get_execution_options().get("plexus_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
