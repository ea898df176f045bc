"""The SQL store in trouble: what one row, one caller or one lost answer may not do to the rest. On SQLite."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import Claimed
from plexus_scoring.stores import sql
from plexus_scoring.stores.sql.database import Database
from tests.support.stores import FakeClock, new_job


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    sql.upgrade(url)
    return url


@pytest.fixture
async def jobs(url):
    stores = sql.connect(url, clock=FakeClock())
    yield stores.jobs
    await stores.aclose()


def change(url, statement):
    database = Database(url)
    try:
        database.transaction(lambda connection: connection.execute(text(statement)), write=True)
    finally:
        database.engine.dispose()


@pytest.mark.parametrize("damage", ["body = '{'", "status = 'PAUSED'", "last_error = '[]'"])
async def test_a_row_that_cannot_be_read_does_not_spoil_its_batch(jobs, url, damage):
    for number in range(4):
        await jobs.create(new_job(f"job-{number}"))
    change(url, f"UPDATE jobs SET {damage} WHERE id = 'job-2'")
    answers = await asyncio.gather(
        *(jobs.claim(f"job-{number}", lease_seconds=60) for number in range(4)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Claimed, Claimed, StoreUnavailable, Claimed]
