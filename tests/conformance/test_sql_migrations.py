"""A database that an earlier version filled: after the upgrade nothing is lost, and each job has its account."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Claimed, Finished, JobStatus
from plexus_scoring.stores import sql
from plexus_scoring.stores.codec import memo_key
from plexus_scoring.stores.sql import schema, setup
from plexus_scoring.stores.sql.database import Database
from tests.support.stores import START, FakeClock, claimed, key, new_job, result_of

# As version 0001 derived it, from the job's id alone.
OLD_RESULT = result_of("done").id
CONTENT = {"item_digest": "d" * 64, "score_version": "v" * 16}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server = request.getfixturevalue("postgresql_url")
    name = f"old_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.rsplit("/", 1)[0] + f"/{name}"


def in_database(url: str, work: Any) -> Any:
    database = Database(url, writers=1, readers=1)
    try:
        return database.transaction(work, True)
    finally:
        database.engine.dispose()


def upgrade_to_0001(connection: Connection) -> None:
    config = setup._config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


def old_job(job_id: str, account: str, status: JobStatus, **state: Any) -> dict[str, Any]:
    """Return a row as version 0001 wrote it."""
    body = new_job(job_id, account=account, item=Item(id="i", text=f"text of {job_id} \0"))
    return {
        "id": job_id, "account": account, "status": status.value, "created_at": START, "updated_at": START,
        "not_before": 0.0, "attempt": 0, "started_at": None, "completed_at": None, "lease_token": None,
        "lease_expires_at": None, "last_error": None, "result_id": None,
        "body": msgspec.json.encode(body).decode(), **state,
    }  # fmt: skip


def old_result(job_id: str, account: str) -> dict[str, Any]:
    """Return a row as version 0001 wrote it: an id without the account, and no column for it."""
    result = result_of(key(job_id), account=account, **CONTENT)
    memo = memo_key(**CONTENT, score=result.score)
    return {
        "id": result.id, "job_id": job_id, "memo_key": memo, "created_at": START,
        "body": msgspec.json.encode(result).decode(),
    }  # fmt: skip


JOBS = [
    old_job("waiting", "default", JobStatus.PENDING),
    old_job("theirs", "acme", JobStatus.PENDING),
    old_job("at-work", "acme", JobStatus.IN_PROGRESS, attempt=1, started_at=START,
            lease_token="t" * 32, lease_expires_at=START + 60),
    old_job("done", "acme", JobStatus.COMPLETED, attempt=1, completed_at=START, result_id=OLD_RESULT),
    old_job("ours", "default", JobStatus.COMPLETED, attempt=1, completed_at=START,
            result_id=result_of("ours").id),
    old_job("broken", "acme", JobStatus.FAILED, attempt=5, completed_at=START,
            last_error='{"code":"x","message":"y"}'),
]  # fmt: skip
RESULTS = [old_result("done", "acme"), old_result("ours", "default")]
CHECKPOINTS = [
    {"job_id": job_id, "name_digest": "n", "created_at": START, "name": '"node"', "value": job_id.encode()}
    for job_id in ("waiting", "at-work", "of nobody")
]  # fmt: skip


def fill(connection: Connection) -> None:
    upgrade_to_0001(connection)
    for table, rows in (("jobs", JOBS), ("results", RESULTS), ("checkpoints", CHECKPOINTS)):
        names = list(rows[0])
        values = ", ".join(f":{name}" for name in names)
        connection.execute(
            text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows
        )


@pytest.fixture
async def stores(url):
    in_database(url, fill)
    assert sql.upgrade(url) == setup.newest_version()
    opened = sql.connect(url, clock=FakeClock())
    yield opened
    await opened.aclose()


async def test_every_job_is_where_its_account_looks_for_it(stores):
    for row in JOBS:
        mine = key(row["id"], row["account"])
        job = await stores.jobs.get(mine)
        assert (job.key, job.status.value) == (mine, row["status"])
        assert (job.item.text, job.attempt) == (f"text of {mine.id} \0", row["attempt"])
        stranger = key(mine.id, "acme" if mine.account == "default" else "default")
        assert await stores.jobs.get(stranger) is None
    listed = await stores.jobs.list_jobs(JobStatus.PENDING, account="acme")
    assert [job.id for job in listed.jobs] == ["theirs"]


async def test_a_result_keeps_its_id_and_gets_its_account(stores):
    result = await stores.jobs.result(OLD_RESULT, account="acme")
    assert (result.id, result.account, result.value) == (OLD_RESULT, "acme", "Yes")
    assert await stores.jobs.result(OLD_RESULT) is None
    answer = await stores.jobs.claim(key("done", "acme"), lease_seconds=60)
    assert isinstance(answer, Finished)
    assert answer.result == result
    found = await stores.jobs.find_result(**CONTENT, score="Greeting", account="acme")
    assert found == result
    found = await stores.jobs.find_result(**CONTENT, score="Greeting")
    assert found.job_id == "ours"


async def test_an_id_that_another_account_used_before_is_free(stores):
    """The new job's result has the very id that the other account's result has had from version 0001."""
    fresh = new_job("done", item=Item(id="i", text="another text"))
    answer = await stores.jobs.claim(key("done"), lease_seconds=60, new=fresh)
    assert isinstance(answer, Claimed)
    assert result_of("done").id == OLD_RESULT
    await stores.jobs.complete(answer.lease, result_of("done", value="ours"))
    assert (await stores.jobs.result(OLD_RESULT)).value == "ours"
    assert (await stores.jobs.result(OLD_RESULT, account="acme")).value == "Yes"


async def test_work_goes_on_where_it_stood(stores):
    lease = type((await claimed(stores.jobs, key("theirs", "acme"))).lease)(
        key=key("at-work", "acme"), token="t" * 32, expires_at=START + 60, attempt=1
    )
    await stores.jobs.complete(lease, result_of(lease.key))
    await stores.jobs.redrive(key("broken", "acme"))
    await claimed(stores.jobs, key("broken", "acme"))
    await claimed(stores.jobs, "waiting")


async def test_other_content_under_an_old_jobs_key_is_refused(stores):
    other = new_job("theirs", account="acme", score="Another")
    with pytest.raises(InvalidRequest, match="use a new id"):
        await stores.jobs.claim(key("theirs", "acme"), lease_seconds=60, new=other)
    same = new_job("theirs", account="acme", item=Item(id="i", text="text of theirs \0"))
    assert isinstance(
        await stores.jobs.claim(key("theirs", "acme"), lease_seconds=60, new=same), Claimed
    )


async def test_checkpoints_follow_their_jobs_and_those_of_no_job_go(stores):
    load = stores.checkpoints.load
    assert await load(key("waiting")) == {"node": b"waiting"}
    assert await load(key("at-work", "acme")) == {"node": b"at-work"}
    for account in ("default", "acme"):
        assert await load(key("of nobody", account)) == {}
    assert await load(key("at-work")) == {}


def test_the_tables_are_those_of_the_schema(url):
    in_database(url, fill)
    sql.upgrade(url)
    sql.upgrade(url)  # again: nothing is left to do
    found = in_database(
        url,
        lambda connection: compare_metadata(
            MigrationContext.configure(connection), schema.metadata
        ),
    )
    assert [entry for entry in found if "alembic_version" not in str(entry)] == []
    keys = in_database(url, _primary_keys)
    assert keys == {
        table.name: [column.name for column in table.primary_key]
        for table in schema.metadata.sorted_tables
    }


def _primary_keys(connection: Connection) -> dict[str, list[str]]:
    """Return what Alembic does not compare."""
    inspector = inspect(connection)
    names = [name for name in inspector.get_table_names() if name != "alembic_version"]
    return {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in names}
