"""How long ended jobs are kept, where the store keeps them beyond the process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from plexus_scoring.attachments.filesystem import FilesystemAttachments
from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Claimed, JobStatus, NewJob
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.ports import JobStore
from plexus_scoring.stores import dynamodb, sql
from plexus_scoring.stores.dynamodb.table import TTL_ATTRIBUTE
from tests.conformance.conftest import Stores, empty_database
from tests.support.stores import FakeClock, key

DAY = 86_400.0
RETENTION = 30 * DAY

Expire = Callable[[], Awaitable[None]]


@pytest.fixture(params=["dynamodb", "sqlite", "postgresql"])
async def kept(
    request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[tuple[Stores, Expire]]:
    """A store that keeps jobs for 30 days, and what deletes the older ones."""
    if request.param == "dynamodb":
        client = request.getfixturevalue("dynamodb_client")
        name = f"jobs-{uuid.uuid4()}"
        dynamodb.create_table(client, name)
        opened = dynamodb.connect(
            name,
            client=client,
            executor=request.getfixturevalue("threads"),
            overflow=FilesystemAttachments(tmp_path / "overflow"),
            clock=clock,
            retention_seconds=RETENTION,
        )

        async def expire() -> None:
            """As DynamoDB does within some hours."""
            for row in client.scan(TableName=name)["Items"]:
                if TTL_ATTRIBUTE in row and float(row[TTL_ATTRIBUTE]["N"]) < clock.now():
                    client.delete_item(TableName=name, Key=_key(client, name, row))

        yield Stores("dynamodb", opened.jobs, opened.catalog, opened.checkpoints), expire
        client.delete_table(TableName=name)
        return
    tables = sql.connect(empty_database(request, request.param, tmp_path), clock=clock)

    async def purge() -> None:
        await tables.purge(retention_seconds=RETENTION)

    yield Stores(request.param, tables.jobs, tables.catalog, tables.checkpoints), purge
    await tables.aclose()


def _key(client: Any, name: str, row: dict[str, Any]) -> dict[str, Any]:
    schema = client.describe_table(TableName=name)["Table"]["KeySchema"]
    return {part["AttributeName"]: row[part["AttributeName"]] for part in schema}


async def begin(jobs: JobStore, job_id: str, account: str = "default") -> Claimed:
    new = NewJob(id=job_id, account=account, scorecard="c", score="s", item=Item(id="i", text="t"))
    claimed = await jobs.claim(new.key, lease_seconds=60, new=new)
    assert isinstance(claimed, Claimed)
    return claimed


async def complete(jobs: JobStore, job_id: str, account: str = "default") -> None:
    lease = (await begin(jobs, job_id, account)).lease
    result = ScoreResult(
        id=result_id_of(lease.key), job_id=job_id, account=account, scorecard="c", score="s", value="Yes", created_at=0
    )  # fmt: skip
    await jobs.complete(lease, result)


async def fail(jobs: JobStore, job_id: str) -> None:
    await jobs.fail((await begin(jobs, job_id)).lease, ErrorInfo(code="x", message="m"))


async def test_ended_jobs_go_after_the_retention_with_their_results(kept, clock):
    stores, expire = kept
    jobs = stores.jobs
    await complete(jobs, "completed")
    await fail(jobs, "failed")
    clock.advance(RETENTION - DAY)
    await expire()
    assert (await jobs.get(key("completed"))).status is JobStatus.COMPLETED
    assert (await jobs.get(key("failed"))).status is JobStatus.FAILED
    await complete(jobs, "younger")
    clock.advance(2 * DAY)
    await expire()
    assert await jobs.get(key("completed")) is None
    assert await jobs.result(result_id_of(key("completed"))) is None
    assert await jobs.get(key("failed")) is None
    assert await jobs.result(result_id_of(key("younger"))) is not None
    await complete(jobs, "completed")  # its id is free again


async def test_another_accounts_job_of_the_same_id_stays(kept, clock):
    stores, expire = kept
    jobs = stores.jobs
    await complete(jobs, "same", "one")
    clock.advance(RETENTION)
    await complete(jobs, "same", "two")
    await begin(jobs, "same", "three")
    for account in ("two", "three"):
        await stores.checkpoints.save(key("same", account), "node", b"answer")
    clock.advance(DAY)
    await expire()
    assert await jobs.get(key("same", "one")) is None
    assert await jobs.result(result_id_of(key("same", "one")), account="one") is None
    assert (await jobs.get(key("same", "two"))).status is JobStatus.COMPLETED
    assert await jobs.result(result_id_of(key("same", "two")), account="two") is not None
    assert (await jobs.get(key("same", "three"))).status is JobStatus.IN_PROGRESS
    for account in ("two", "three"):
        assert await stores.checkpoints.load(key("same", account)) == {"node": b"answer"}


async def test_jobs_that_have_not_ended_stay(kept, clock):
    stores, expire = kept
    jobs = stores.jobs
    await jobs.create(NewJob(id="pending", scorecard="c", score="s", item=Item(id="i", text="t")))
    await begin(jobs, "in progress")
    await fail(jobs, "redriven")
    clock.advance(RETENTION - DAY)
    await jobs.redrive(key("redriven"))
    clock.advance(10 * RETENTION)
    await expire()
    for job_id in ("pending", "in progress", "redriven"):
        assert await jobs.get(key(job_id)) is not None, job_id


async def test_checkpoints_go_after_a_week(kept, clock):
    stores, expire = kept
    await stores.checkpoints.save(key("old"), "node", b"answer")
    clock.advance(6 * DAY)
    await stores.checkpoints.save(key("new"), "node", b"answer")
    clock.advance(2 * DAY)
    await expire()
    assert await stores.checkpoints.load(key("old")) == {}
    assert await stores.checkpoints.load(key("new")) == {"node": b"answer"}


async def test_more_jobs_than_one_transaction_takes(clock, tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    sql.upgrade(url)
    tables = sql.connect(url, clock=clock)
    for n in range(3):
        await fail(tables.jobs, str(n))
    clock.advance(RETENTION + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plexus_scoring.stores.sql.purge.BATCH", 2)
        assert (await tables.purge(retention_seconds=RETENTION)).jobs == 3
    await tables.aclose()
