"""Jobs, results, items, scorecards and checkpoints in SQLite or PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from plexus_scoring.ports import Clock
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.sql.catalog import SqlCatalog, SqlCheckpoints
from plexus_scoring.stores.sql.database import Database
from plexus_scoring.stores.sql.jobs import SqlJobStore
from plexus_scoring.stores.sql.postgresql import Prepare
from plexus_scoring.stores.sql.purge import (
    CHECKPOINTS_KEPT_SECONDS,
    Purged,
    first_account,
    purge_checkpoints,
    purge_jobs,
)
from plexus_scoring.stores.sql.setup import upgrade

__all__ = [
    "Purged",
    "SqlCatalog",
    "SqlCheckpoints",
    "SqlJobStore",
    "SqlStores",
    "connect",
    "upgrade",
]


@dataclass(frozen=True)
class SqlStores:
    """The database's three faces."""

    jobs: SqlJobStore
    catalog: SqlCatalog
    checkpoints: SqlCheckpoints
    database: Database
    clock: Clock

    async def purge(self, *, retention_seconds: float) -> Purged:
        """Delete jobs that ended longer ago than that, with their results, and checkpoints nobody came back for.

        In many short transactions, so that it may run beside workers; running it again goes on where it ended.

        Raises:
            StoreUnavailable: the database cannot be reached; what was deleted until then stays deleted.
        """
        now = self.clock.now()
        jobs = 0
        account = await self.database.read(first_account)
        while account is not None:
            work = partial(purge_jobs, account=account, ended_before=now - retention_seconds)
            while deleted := await self.database.write(work):
                jobs += deleted
            account = await self.database.read(partial(first_account, after=account))
        checkpoints = await self.database.write(
            lambda connection: purge_checkpoints(
                connection, made_before=now - CHECKPOINTS_KEPT_SECONDS
            )
        )
        return Purged(jobs=jobs, checkpoints=checkpoints)

    async def aclose(self) -> None:
        """Finish what is under way and close the connections. Safe to call twice."""
        await self.jobs.aclose()


def connect(
    url: str,
    *,
    clock: Clock | None = None,
    writers: int | None = None,
    readers: int = 4,
    prepare: Prepare = "auto",
) -> SqlStores:
    """Return the stores in one database; nothing is opened before the first call.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://…``. Run `upgrade` on it first.
        clock: Time; None is the machine's.
        writers: Transactions that may write at once (PostgreSQL; SQLite has one).
        readers: Transactions that may read at once.
        prepare: Whether PostgreSQL prepares statements; ``auto``: unless a pooler is in between.
    """
    clock = clock or SystemClock()
    database = Database(url, writers=writers, readers=readers, prepare=prepare)
    return SqlStores(
        jobs=SqlJobStore(database, clock=clock),
        catalog=SqlCatalog(database, clock=clock),
        checkpoints=SqlCheckpoints(database, clock=clock),
        database=database,
        clock=clock,
    )
