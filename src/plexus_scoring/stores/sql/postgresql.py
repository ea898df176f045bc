"""PostgreSQL's engine, which assumes nothing of a session: a pooler may give each transaction another one.

Limits are set inside the transaction, in the round trip that begins it. Statements are prepared only where no pooler
is in between: behind one in transaction mode the next transaction may meet a session that lacks the statement, or that
has another client's under the same name.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL

Prepare = Literal["auto", "on", "off"]

BEGIN = (
    "BEGIN; SET LOCAL statement_timeout = 20000; "
    "SET LOCAL idle_in_transaction_session_timeout = 30000"
)
_CONNECT: dict[str, str | int] = {
    "connect_timeout": 5,
    "application_name": "plexus-scoring",
    # A peer that vanished without a word is noticed in seconds, not in the kernel's two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# psycopg prepares what it sees for the second time.
_PREPARE_AFTER = 1
# SQLSTATEs, or the classes of two characters, after which a session is of no more use though its line is up: it became
# read-only in a failover (25006), lost or mixed up its prepared statements (26, 42P05, 08P01), has a plan of other
# tables (0A000), or its server is in trouble (58, F0, XX).
_USELESS = frozenset({"08", "25", "26", "58", "F0", "XX", "42P05", "0A000"})


_NOT_OUR_STATEMENT = frozenset({"26000", "42P05", "08P01"})


class Pooled:
    """Whether a pooler is in between; once found it is never forgotten."""

    found = False

    def describe(self, connection: Connection) -> str:
        """Say in a few words what is at the other end of a connection."""
        driver: Any = connection.connection.driver_connection
        version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        way = "through a connection pooler" if self.found else "directly"
        prepared = "not prepared" if driver.prepare_threshold is None else "prepared"
        tls = "with" if driver.pgconn.ssl_in_use else "without"
        return f"PostgreSQL {version} {way}, {tls} TLS, statements {prepared}"


def make_engine(url: URL, *, connections: int, prepare: Prepare) -> tuple[Engine, Pooled]:
    """Return an engine, and what it finds out about the way to the server.

    Args:
        url: Its options go before our defaults, for example ``connect_timeout`` and ``sslmode``.
        connections: How many there may be.
        prepare: Whether statements are prepared; ``auto``: unless a pooler is in between.
    """
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=10,
        connect_args={
            **{name: value for name, value in _CONNECT.items() if name not in url.query},
            # Transactions begin where `_begin` says so, and nothing is prepared before `_look`.
            "autocommit": True,
            "prepare_threshold": None,
        },
    )
    pooled = Pooled()

    @event.listens_for(engine, "connect")
    def _look(connection: Any, _record: Any) -> None:
        pooled.found = pooled.found or _is_pooled(connection)
        if prepare == "on" or (prepare == "auto" and not pooled.found):
            connection.prepare_threshold = _PREPARE_AFTER

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(BEGIN)

    @event.listens_for(engine, "handle_error")
    def _drop_useless(context: ExceptionContext) -> None:
        """Have the pool drop its sessions, as after a lost connection; the transaction is run again on a new one."""
        state = getattr(context.original_exception, "sqlstate", None) or ""
        if context.connection is not None and _USELESS & {state, state[:2]}:
            context.is_disconnect = True
            # A pooler that passes on its server's process id is found by what it does to prepared statements.
            pooled.found = pooled.found or state in _NOT_OUR_STATEMENT

    return engine, pooled


def _is_pooled(connection: Any) -> bool:
    """Whether the server's process is another one than the connection was told of: a pooler makes up its own."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(row[0] != connection.info.backend_pid)
