"""Jobs, results, items, scorecards and checkpoints in SQLite or PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

from plexus_scoring.ports import Clock
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.sql.catalog import SqlCatalog, SqlCheckpoints
from plexus_scoring.stores.sql.database import Database
from plexus_scoring.stores.sql.jobs import SqlJobStore
from plexus_scoring.stores.sql.setup import upgrade

__all__ = ["SqlCatalog", "SqlCheckpoints", "SqlJobStore", "SqlStores", "connect", "upgrade"]


@dataclass(frozen=True)
class SqlStores:
    """The database's three faces."""

    jobs: SqlJobStore
    catalog: SqlCatalog
    checkpoints: SqlCheckpoints

    async def aclose(self) -> None:
        """Finish what is under way and close the connections. Safe to call twice."""
        await self.jobs.aclose()


def connect(
    url: str, *, clock: Clock | None = None, writers: int | None = None, readers: int = 4
) -> SqlStores:
    """Return the stores in one database; nothing is opened before the first call.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://…``. Run `upgrade` on it first.
        clock: Time; None is the machine's.
        writers: Transactions that may write at once (PostgreSQL; SQLite has one).
        readers: Transactions that may read at once.
    """
    clock = clock or SystemClock()
    database = Database(url, writers=writers, readers=readers)
    return SqlStores(
        jobs=SqlJobStore(database, clock=clock),
        catalog=SqlCatalog(database, clock=clock),
        checkpoints=SqlCheckpoints(database, clock=clock),
    )
