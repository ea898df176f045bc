"""Deletes what ended long ago. DynamoDB's time to live does the same by itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from plexus_scoring.model.job import JobStatus
from plexus_scoring.stores.sql import schema

BATCH = 500
"""Jobs of a status deleted in one transaction: a worker's transactions wait for none that is long."""
CHECKPOINTS_KEPT_SECONDS = 7 * 24 * 3600.0
"""As in the DynamoDB store: no attempt comes back to its checkpoints after so long."""

_ENDED = (JobStatus.COMPLETED.value, JobStatus.FAILED.value)


@dataclass(frozen=True)
class Purged:
    """What was deleted: jobs, each with its result and checkpoints; and checkpoints that no job came back for."""

    jobs: int = 0
    checkpoints: int = 0


def first_account(connection: Connection, *, after: str = "") -> str | None:
    """Return the account that has jobs and comes after another one; None at the end."""
    account = schema.jobs.c.account
    found: str | None = connection.scalar(select(func.min(account)).where(account > after))
    return found


def purge_jobs(connection: Connection, *, account: str, ended_before: float) -> int:
    """Delete up to `BATCH` jobs of an account that ended before a time, with what belongs to them.

    Jobs that are locked, because they are being redriven, are passed over. An account and a status at a time, which
    the index of listings answers: any other way looks at every job that stays.
    """
    return sum(_purge(connection, account, status, ended_before) for status in _ENDED)


def _purge(connection: Connection, account: str, status: str, ended_before: float) -> int:
    columns = schema.jobs.c
    ids = list(
        connection.execute(
            select(columns.id)
            .where(
                columns.account == account,
                columns.status == status,
                columns.updated_at < ended_before,
            )
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).scalars()
    )
    if ids:
        for table, of_jobs in (
            (schema.results, schema.results.c.job_id),
            (schema.checkpoints, schema.checkpoints.c.job_id),
            (schema.jobs, columns.id),
        ):
            connection.execute(delete(table).where(table.c.account == account, of_jobs.in_(ids)))
    return len(ids)


def purge_checkpoints(connection: Connection, *, made_before: float) -> int:
    """Delete checkpoints that were made before a time (seconds since the epoch)."""
    stale = schema.checkpoints.c.created_at < made_before
    return connection.execute(delete(schema.checkpoints).where(stale)).rowcount
