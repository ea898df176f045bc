"""The SQL store in trouble: what one row, one caller or one lost answer may not do to the rest. On SQLite."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event, text

from plexus_scoring.model.errors import ConfigurationError, ErrorInfo, StoreUnavailable
from plexus_scoring.model.job import Claimed, JobStatus
from plexus_scoring.stores import sql
from plexus_scoring.stores.sql.database import Database
from tests.support.stores import FakeClock, key, new_job


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
        *(jobs.claim(key(f"job-{number}"), lease_seconds=60) for number in range(4)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Claimed, Claimed, StoreUnavailable, Claimed]


@pytest.fixture
def answered(monkeypatch):
    """Set once a write's transaction is committed; its caller has not heard of it then."""
    committed, write = asyncio.Event(), Database.write

    async def slow(self, work):
        answer = await write(self, work)
        committed.set()
        await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(Database, "write", slow)
    return committed


async def cancelled_when(event, work):
    task = asyncio.create_task(work)
    await event.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_is_no_failure_though_a_claim_could_not_be_given_back(
    jobs, answered, monkeypatch, caplog
):
    await jobs.create(new_job())
    answered.clear()

    async def gone(*_args, **_more):
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(type(jobs), "release", gone)
    await cancelled_when(answered, jobs.claim(key("job-1"), lease_seconds=60))
    await jobs.aclose()
    assert "lease will expire" in caplog.text


async def test_the_oldest_job_is_given_back_if_its_claimer_was_cancelled(jobs, answered):
    await jobs.create(new_job())
    answered.clear()
    await cancelled_when(answered, jobs.claim_oldest(lease_seconds=60))
    await asyncio.gather(*jobs._abandoned)
    job = await jobs.get(key("job-1"))
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)


async def test_a_poll_whose_commit_was_not_heard_of_claims_no_second_job(jobs, monkeypatch):
    """The transaction is run again after the connection broke in its commit."""
    await jobs.create(new_job("job-1"))
    await jobs.create(new_job("job-2"))
    transaction = Database.transaction

    def twice(self, work, write):
        transaction(self, work, write)
        return transaction(self, work, write)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", twice)
        claimed = await jobs.claim_oldest(lease_seconds=60)
    assert (claimed.job.id, claimed.job.attempt) == ("job-1", 1)
    assert (await jobs.get(key("job-2"))).status is JobStatus.PENDING


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:1/jobs?user=ann&password=hunter2",
        "postgresql://ann:hunter2@127.0.0.1:1/jobs",
        "postgresql://ann:x@hunter2@127.0.0.1:1/jobs",
        "postgresql://ann:x@y:hunter2@127.0.0.1/jobs",
    ],
)
async def test_no_error_tells_the_password(url):
    async def use():
        stores = sql.connect(url)
        try:
            await stores.jobs.get(key("job-1"))
        finally:
            await stores.aclose()

    with pytest.raises((StoreUnavailable, ConfigurationError)) as caught:
        await use()
    assert "hunter2" not in str(caught.value)


async def test_a_database_of_a_newer_version_asks_for_a_newer_program(url):
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        sql.upgrade(url)
    stores = sql.connect(url)
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        await stores.jobs.check()
    await stores.aclose()


def test_a_file_that_cannot_be_made_is_a_matter_of_configuration(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="PLEXUS_DATABASE_URL"):
        sql.upgrade(f"sqlite:///{tmp_path}/file/jobs.db")


async def test_purging_looks_at_no_job_that_stays(jobs, url):
    """A look at every job takes longer than a statement may, where there are millions."""
    statements = []
    stores = sql.connect(url, clock=FakeClock())
    event.listen(
        stores.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, parameters, *_more: statements.append(
            (statement, parameters)
        ),
    )
    for account in ("one", "two"):
        lease = (await claimed_new(jobs, account)).lease
        await jobs.fail(lease, ErrorInfo(code="x", message="m"))
    assert (await stores.purge(retention_seconds=-1)).jobs == 2
    plans = [
        row.detail
        for statement, parameters in statements
        if statement.startswith("SELECT")
        for row in await stores.database.read(
            lambda connection, statement=statement, parameters=parameters: (
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            )
        )
    ]
    await stores.aclose()
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


async def claimed_new(jobs, account):
    job = new_job(f"job-of-{account}", account=account)
    claimed = await jobs.claim(job.key, lease_seconds=60, new=job)
    assert isinstance(claimed, Claimed)
    return claimed


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/jobs.db", "Run `plexus-scoring db upgrade`, which makes it"),
        ("postgresql://u:p@127.0.0.1:1/x", "Start the server, or set PLEXUS_DATABASE_URL"),
    ],
)
def test_a_database_that_is_not_there_says_what_to_do(url, says):
    database = Database(url)
    try:
        with pytest.raises(StoreUnavailable, match=says):
            database.transaction(lambda connection: connection.execute(text("SELECT 1")), False)
    finally:
        database.engine.dispose()
