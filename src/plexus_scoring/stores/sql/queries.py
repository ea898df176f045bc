"""Statements that look at many jobs, or read one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, tuple_, update

from plexus_scoring.model.job import JobKey, JobPage, JobStatus, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores import cursor as cursors
from plexus_scoring.stores import transitions
from plexus_scoring.stores.codec import decode
from plexus_scoring.stores.sql import rows, schema

_JOB = select(*rows.STATE_COLUMNS, schema.jobs.c.body)
_C = schema.jobs.c


def job(connection: Connection, key: JobKey) -> ScoringJob | None:
    """Return a job, or None."""
    row = connection.execute(_JOB.where(*_is(key))).one_or_none()
    return None if row is None else transitions.public(rows.job_of(row))


def result(connection: Connection, result_id: str, account: str) -> ScoreResult | None:
    """Return a result of an account, or None."""
    return _result(connection, account, schema.results.c.id == result_id)


def newest(connection: Connection, memo: str | None, account: str) -> ScoreResult | None:
    """Return the account's newest result under a memo key."""
    return _result(connection, account, schema.results.c.memo_key == memo)


def lock_oldest(connection: Connection, *, now: float, account: str | None) -> ScoringJob | None:
    """Lock the PENDING, due job that was created first, passing over those that others hold locked."""
    query = (
        _JOB.where(_C.status == JobStatus.PENDING.value, _C.not_before <= now, *_of(account))
        .order_by(_C.created_at, _C.account, _C.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else rows.job_of(row)


def held(connection: Connection, token: str) -> ScoringJob | None:
    """Return the job that is under the lease of this token. No index has the tokens: not for every claim."""
    query = _JOB.where(_C.status == JobStatus.IN_PROGRESS.value, _C.lease_token == token)
    row = connection.execute(query).one_or_none()
    return None if row is None else rows.job_of(row)


def save(connection: Connection, changed: ScoringJob) -> None:
    """Write a locked job's state."""
    connection.execute(update(schema.jobs).where(*_is(changed.key)).values(rows.state_of(changed)))


def page(
    connection: Connection,
    status: JobStatus,
    *,
    account: str,
    limit: int,
    cursor: str | None,
    oldest_first: bool,
) -> JobPage:
    """Return one page of a listing. Raises InvalidRequest for a cursor of another listing."""
    listing = cursors.listing_of(status, account, oldest_first=oldest_first)
    query = _JOB.where(_C.account == account, _C.status == status.value)
    if cursor is not None:
        after = cursors.read(cursor, listing)
        place: Any = tuple_(_C.updated_at, _C.id)
        here = (after.updated_at, after.job_id)
        query = query.where(place > here if oldest_first else place < here)
    order = [_C.updated_at, _C.id] if oldest_first else [_C.updated_at.desc(), _C.id.desc()]
    ordered = query.order_by(*order).limit(limit + 1)
    found = [rows.job_of(row) for row in connection.execute(ordered)]
    jobs = tuple(transitions.public(each) for each in found[:limit])
    more = len(found) > limit
    return JobPage(jobs, cursors.write(listing, jobs[-1].updated_at, jobs[-1].id) if more else None)


def stranded(
    connection: Connection,
    *,
    now: float,
    pending_older_than: float,
    limit: int,
    account: str | None,
) -> tuple[ScoringJob, ...]:
    """Return jobs that nobody seems to be coming for, oldest first."""
    pending = and_(
        _C.status == JobStatus.PENDING.value,
        _C.not_before <= now,
        _C.updated_at <= now - pending_older_than,
    )
    expired = and_(_C.status == JobStatus.IN_PROGRESS.value, _C.lease_expires_at <= now)
    query = (
        _JOB.where(or_(pending, expired), *_of(account))
        .order_by(_C.created_at, _C.account, _C.id)
        .limit(limit)
    )
    return tuple(transitions.public(rows.job_of(row)) for row in connection.execute(query))


def _is(key: JobKey) -> tuple[ColumnElement[bool], ...]:
    return (_C.account == key.account, _C.id == key.id)


def _of(account: str | None) -> list[ColumnElement[bool]]:
    return [] if account is None else [_C.account == account]


def _result(
    connection: Connection, account: str, condition: ColumnElement[bool]
) -> ScoreResult | None:
    columns = schema.results.c
    query = (
        select(columns.body)
        .where(columns.account == account, condition)
        .order_by(columns.created_at.desc())
        .limit(1)
    )
    body = connection.execute(query).scalar_one_or_none()
    return None if body is None else decode(body, ScoreResult)
