"""Group commit on SQLite: what shares a transaction, and what one caller's trouble means to the others."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from plexus_scoring.model.errors import ConfigurationError, LeaseLost, StoreUnavailable
from plexus_scoring.model.job import Claimed, JobStatus
from plexus_scoring.stores import sql
from plexus_scoring.stores.sql import schema
from plexus_scoring.stores.sql.database import Database
from tests.support.stores import FakeClock, claimed, key, new_job, result_of


@pytest.fixture
async def jobs(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    sql.upgrade(url)
    stores = sql.connect(url, clock=FakeClock())
    yield stores.jobs
    await stores.aclose()


@pytest.fixture
def transactions(monkeypatch):
    """Count write transactions."""
    counted = []
    write = Database.write

    async def counting(self, work):
        counted.append(work)
        return await write(self, work)

    monkeypatch.setattr(Database, "write", counting)
    return counted


async def test_calls_that_wait_together_share_a_transaction(jobs, transactions):
    await asyncio.gather(*(jobs.create(new_job(f"job-{number}")) for number in range(100)))
    assert len(transactions) <= 2


async def test_a_call_alone_does_not_wait_for_others(jobs, transactions):
    for number in range(3):
        await jobs.create(new_job(f"job-{number}"))
    assert len(transactions) == 3


async def test_a_refused_call_does_not_touch_the_others(jobs):
    for number in range(3):
        await jobs.create(new_job(f"job-{number}"))
    leases = [(await claimed(jobs, f"job-{number}")).lease for number in range(3)]
    await jobs.release(leases[1], delay=0, counted=True)
    await claimed(jobs, "job-1")
    answers = await asyncio.gather(
        *(jobs.complete(lease, result_of(lease.key)) for lease in leases), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), LeaseLost, type(None)]
    states = [(await jobs.get(key(f"job-{number}"))).status for number in range(3)]
    assert states == [JobStatus.COMPLETED, JobStatus.IN_PROGRESS, JobStatus.COMPLETED]


async def test_calls_about_one_job_see_each_other_in_one_transaction(jobs):
    create = jobs.create(new_job())
    first = jobs.claim(key("job-1"), lease_seconds=60)
    second = jobs.claim(key("job-1"), lease_seconds=60)
    answers = await asyncio.gather(create, first, second)
    assert isinstance(answers[1], Claimed)
    assert not isinstance(answers[2], Claimed)


async def test_a_claim_whose_caller_was_cancelled_is_given_back(jobs, monkeypatch):
    await jobs.create(new_job())
    started, write = asyncio.Event(), Database.write

    async def slow(self, work):
        answer = await write(self, work)
        started.set()
        await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(Database, "write", slow)
    claim = asyncio.create_task(jobs.claim(key("job-1"), lease_seconds=60))
    await started.wait()
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    monkeypatch.setattr(Database, "write", write)
    await jobs._batcher.aclose()
    await asyncio.gather(*jobs._abandoned)
    job = await jobs.get(key("job-1"))
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)


async def test_trouble_reaches_every_caller_and_the_next_one_goes_on(jobs, monkeypatch):
    await jobs.create(new_job())

    async def broken(_self, _work):
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", broken)
        answers = await asyncio.gather(
            *(jobs.claim(key("job-1"), lease_seconds=60) for _ in range(3)), return_exceptions=True
        )
    assert [str(answer) for answer in answers] == ["unforeseen"] * 3
    await claimed(jobs)


async def test_a_database_without_tables_says_what_to_do(tmp_path):
    stores = sql.connect(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await stores.jobs.create(new_job())
    with pytest.raises(ConfigurationError, match="db upgrade"):
        await stores.jobs.check()
    await stores.aclose()


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path):
    stores = sql.connect(f"sqlite:///{tmp_path}/no/such/directory/jobs.db")
    with pytest.raises(StoreUnavailable):
        await stores.jobs.get(key("job-1"))
    await stores.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await stores.jobs.get(key("job-1"))


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_is_a_matter_of_configuration(url):
    with pytest.raises(ConfigurationError, match="PLEXUS_DATABASE_URL"):
        sql.connect(url)


def test_upgrading_twice_changes_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/deep/jobs.db"
    assert sql.upgrade(url) == sql.upgrade(url)


def test_migrations_and_schema_agree(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    sql.upgrade(url)
    database = Database(url)
    try:
        found = database.transaction(
            lambda connection: compare_metadata(
                MigrationContext.configure(connection), schema.metadata
            ),
            write=False,
        )
    finally:
        database.engine.dispose()
    assert [entry for entry in found if "alembic_version" not in str(entry)] == []
