"""A table that the version before filled, with every account's jobs under their ids alone, and its upgrade.

The suite of two accounts also runs on a table that nobody upgraded.
"""

from __future__ import annotations

import uuid
import zlib
from typing import Any

import msgspec
import pytest

from plexus_scoring.attachments.filesystem import FilesystemAttachments
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound, StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Busy, Claimed, Finished, JobStatus, Lease, Missing
from plexus_scoring.stores import dynamodb
from plexus_scoring.stores.codec import memo_key
from plexus_scoring.stores.dynamodb import table
from plexus_scoring.stores.dynamodb.moves import Moved
from tests.conformance.conftest import Stores
from tests.conformance.test_job_store_accounts import *  # noqa: F403  the suite itself
from tests.support.stores import START, claimed, key, new_job, result_of

CONTENT = {"item_digest": "d" * 64, "score_version": "v" * 16}
ACME = "acme"


class OldTable:
    """A table without the mark, and the means to write into it as the version before did."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name

    def put_job(self, job_id: str, account: str, status: JobStatus, **state: Any) -> None:
        body = new_job(job_id, account=account, item=Item(id="i", text=f"text of {job_id}"))
        numbers = {"created_at": START, "updated_at": START, "attempt": 0, "not_before": 0.0}
        item = {
            "pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "JOB"},
            "account": {"S": account},
            "status": {"S": status.value},
            "status_time": {"S": f"{status.value}#{START:019.6f}"},
            "body": {"S": msgspec.json.encode(body).decode()},
            **{name: {"N": repr(value)} for name, value in numbers.items()},
        }  # fmt: skip
        if status in (JobStatus.PENDING, JobStatus.IN_PROGRESS):
            item["open_shard"] = {"S": f"OPEN#{zlib.crc32(job_id.encode()) % 8}"}
        for name, value in state.items():
            item[name] = {"S": value} if isinstance(value, str) else {"N": repr(value)}
        self.put(item)

    def put_result(self, job_id: str, account: str, **changes: Any) -> str:
        result = result_of(key(job_id), account=account, **CONTENT, **changes)
        self.put(
            {
                "pk": {"S": f"RESULT#{result.id}"}, "sk": {"S": "RESULT"},
                "job_id": {"S": job_id}, "created_at": {"N": repr(START)},
                "body": {"S": msgspec.json.encode(result).decode()},
                "memo_key": {"S": str(memo_key(**CONTENT, score=result.score))},
            }
        )  # fmt: skip
        return result.id

    def put_checkpoint(self, job_id: str) -> None:
        self.put(
            {
                "pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "CHECKPOINT#x"},
                "name": {"S": "node"}, "body": {"B": job_id.encode()},
            }
        )  # fmt: skip

    def put(self, item: dict[str, Any]) -> None:
        self.client.put_item(TableName=self.name, Item=item)

    def partitions(self) -> list[str]:
        rows = self.client.scan(TableName=self.name)["Items"]
        return sorted(row["pk"]["S"] for row in rows)


@pytest.fixture
def old_table(dynamodb_client: Any) -> Any:
    name = f"jobs-{uuid.uuid4()}"
    dynamodb.create_table(dynamodb_client, name)
    dynamodb_client.delete_item(TableName=name, Key=table.MARK)
    yield OldTable(dynamodb_client, name)
    dynamodb_client.delete_table(TableName=name)


@pytest.fixture
def opened(old_table, clock, threads, tmp_path):
    return dynamodb.connect(
        old_table.name,
        client=old_table.client,
        executor=threads,
        overflow=FilesystemAttachments(tmp_path / "overflow"),
        clock=clock,
    )


@pytest.fixture
def stores(opened):
    return Stores("dynamodb, not upgraded", opened.jobs, opened.catalog, opened.checkpoints)


@pytest.fixture
def filled(old_table):
    put = old_table.put_job
    put("waiting", ACME, JobStatus.PENDING)
    put("ours", "default", JobStatus.PENDING)
    put(
        "at-work",
        ACME,
        JobStatus.IN_PROGRESS,
        attempt=1,
        lease_token="t" * 32,
        started_at=START,
        lease_expires_at=START + 60,
    )
    put("done", ACME, JobStatus.COMPLETED, attempt=1, result_id=old_table.put_result("done", ACME))
    put(
        "ended",
        "default",
        JobStatus.COMPLETED,
        attempt=1,
        result_id=old_table.put_result("ended", "default"),
    )
    put("broken", ACME, JobStatus.FAILED, attempt=5, last_error='{"code":"x","message":"y"}')
    for job_id in ("waiting", "ours"):
        old_table.put_checkpoint(job_id)
    return old_table  # fmt: skip


@pytest.fixture(params=["before", "after"])
async def upgraded(request, filled, jobs, clock):
    """The filled table before its upgrade, and after it."""
    if request.param == "after":
        clock.advance(61)
        assert await jobs.upgrade() == Moved(moved=5)
    return request.param


async def test_every_job_is_where_its_account_looks_for_it(jobs, upgraded):
    for job_id, account in (
        ("waiting", ACME),
        ("ours", "default"),
        ("at-work", ACME),
        ("done", ACME),
        ("broken", ACME),
    ):
        job = await jobs.get(key(job_id, account))
        assert (job.key, job.item.text) == (key(job_id, account), f"text of {job_id}")
        for stranger in {"default", ACME, "third"} - {account}:
            assert await jobs.get(key(job_id, stranger)) is None
            assert await jobs.claim(key(job_id, stranger), lease_seconds=60) == Missing()
            with pytest.raises(NotFound):
                await jobs.redrive(key(job_id, stranger))
    listed = await jobs.list_jobs(JobStatus.PENDING, account=ACME)
    assert [job.key for job in listed.jobs] == [key("waiting", ACME)]
    assert (await jobs.list_jobs(JobStatus.COMPLETED, account=ACME)).jobs[0].id == "done"  # fmt: skip


async def test_a_result_keeps_its_id(jobs, upgraded):
    old_id = result_of("done").id
    answer = await jobs.claim(key("done", ACME), lease_seconds=60)
    assert isinstance(answer, Finished)
    assert (answer.result.id, answer.result.account) == (old_id, ACME)
    assert await jobs.result(old_id, account=ACME) == answer.result
    assert await jobs.result(old_id) is None
    assert (await jobs.result(result_of("ended").id)).job_id == "ended"


async def test_work_goes_on_where_it_stood(jobs, upgraded, clock):
    lease = Lease(key=key("at-work", ACME), token="t" * 32, expires_at=START + 60, attempt=1)
    lease = await jobs.renew(lease, lease_seconds=60)
    await jobs.complete(lease, result_of(lease.key))
    assert (await jobs.get(lease.key)).status is JobStatus.COMPLETED
    assert await jobs.result(result_of(lease.key).id, account=ACME) == result_of(lease.key)
    waiting = await claimed(jobs, key("waiting", ACME))
    await jobs.release(waiting.lease, delay=0, counted=True)
    waiting = await claimed(jobs, key("waiting", ACME))
    await jobs.fail(waiting.lease, ErrorInfo(code="x", message="y"))
    for job_id in ("waiting", "broken"):
        assert (await jobs.redrive(key(job_id, ACME))).status is JobStatus.PENDING
    clock.advance(1)
    assert (await jobs.claim_oldest(account=ACME, lease_seconds=60)) is not None
    await claimed(jobs, "ours")


@pytest.mark.parametrize("account", [ACME, "default"])
async def test_an_inline_job_that_comes_again_is_the_same_job(jobs, upgraded, account):
    job_id = "waiting" if account == ACME else "ours"
    mine = key(job_id, account)
    same = new_job(job_id, account=account, item=Item(id="i", text=f"text of {job_id}"))
    other = new_job(job_id, account=account, score="Another")
    with pytest.raises(InvalidRequest, match="use a new id"):
        await jobs.create(other)
    with pytest.raises(InvalidRequest, match="use a new id"):
        await jobs.claim(mine, lease_seconds=60, new=other)
    assert (await jobs.create(same)).created_at == START
    assert (await jobs.get(mine)).attempt == 0
    answer = await jobs.claim(mine, lease_seconds=60, new=same)
    assert isinstance(answer, Claimed)
    assert answer.job.attempt == 1
    assert isinstance(await jobs.claim(mine, lease_seconds=60, new=same), Busy)
    with pytest.raises(InvalidRequest, match="use a new id"):
        await jobs.claim(mine, lease_seconds=60, new=other)


@pytest.mark.parametrize("how", ["create", "claim"])
@pytest.mark.parametrize("job_id", ["waiting", "at-work", "done", "broken"])
async def test_an_id_that_another_account_used_before_is_free(jobs, stores, upgraded, how, job_id):
    before = await jobs.get(key(job_id, ACME))
    theirs = await jobs.result(before.result_id or "none", account=ACME)
    ours = new_job(job_id, item=Item(id="i", text="ours"))
    if how == "create":
        assert (await jobs.create(ours)).item.text == "ours"
        answer = await claimed(jobs, job_id)
    else:
        answer = await jobs.claim(key(job_id), lease_seconds=60, new=ours)
    assert isinstance(answer, Claimed)
    assert (answer.job.account, answer.job.item.text, answer.job.attempt) == ("default", "ours", 1)
    await jobs.complete(answer.lease, result_of(job_id, value="ours"))
    assert await jobs.get(key(job_id, ACME)) == before
    assert await jobs.result(before.result_id or "none", account=ACME) == theirs
    assert (await jobs.result(result_of(job_id).id)).value == "ours"


async def test_the_upgrade_moves_what_is_anothers_and_nothing_else(filled, jobs, stores, clock):
    assert await jobs.upgrade() == Moved(moved=4, left=1)  # one is at work
    assert "LAYOUT" not in filled.partitions()
    assert isinstance(await jobs.claim(key("at-work", ACME), lease_seconds=60), Busy)
    clock.advance(61)
    assert await jobs.upgrade() == Moved(moved=1)
    done, ended = result_of("done").id, result_of("ended").id
    assert filled.partitions() == sorted(
        ["JOB#ours", "JOB#ours", "JOB#ended", f"RESULT#{ended}", "LAYOUT", f"RESULT@acme/{done}",
         "JOB@acme/at-work", "JOB@acme/broken", "JOB@acme/done", "JOB@acme/waiting", "JOB@acme/waiting"]
    )  # fmt: skip
    assert await jobs.upgrade() == Moved()
    assert await stores.checkpoints.load(key("waiting", ACME)) == {"node": b"waiting"}
    assert await stores.checkpoints.load(key("waiting")) == {}
    assert await stores.checkpoints.load(key("ours")) == {"node": b"ours"}
    found = await jobs.find_result(**CONTENT, score="Greeting", account=ACME)
    assert (found.id, found.account) == (done, ACME)


async def test_an_upgrade_that_was_cut_off_is_run_again(filled, jobs, opened, clock):
    clock.advance(61)
    client, real = filled.client, filled.client._make_api_call
    calls = 0
    for fails_at in range(1, 40):
        calls = 0

        def cut(name, arguments, fails_at=fails_at):
            nonlocal calls
            calls += name != "Scan"
            if calls == fails_at:
                raise ConnectionError
            return real(name, arguments)

        client._make_api_call = cut
        try:
            await jobs.upgrade()
        except ConnectionError:
            continue
        finally:
            client._make_api_call = real
        break
    assert calls < fails_at
    assert "LAYOUT" in filled.partitions()
    assert not [one for one in filled.partitions() if one.startswith(("JOB#a", "JOB#b", "JOB#w"))]
    for job_id in ("waiting", "at-work", "done", "broken"):
        assert (await jobs.get(key(job_id, ACME))).item.text == f"text of {job_id}"


async def test_an_upgraded_table_costs_no_call_more(filled, jobs, clock):
    """Before the upgrade an inline job of another account is looked for under its id; after it no more."""
    calls = []
    real = filled.client._make_api_call

    def counting(name, arguments):
        calls.append(name)
        return real(name, arguments)

    async def claim(job_id, account):
        calls.clear()
        filled.client._make_api_call = counting
        try:
            new = new_job(job_id, account=account)
            await jobs.claim(key(job_id, account), lease_seconds=60, new=new)
        finally:
            filled.client._make_api_call = real
        return calls

    assert await claim("n-1", "default") == ["UpdateItem"]
    assert await claim("n-1", ACME) == ["GetItem", "GetItem", "UpdateItem"]  # the mark, the old row
    assert await claim("n-2", ACME) == ["GetItem", "UpdateItem"]
    clock.advance(400)
    await jobs.upgrade()
    assert await claim("n-3", ACME) == ["GetItem", "UpdateItem"]  # the mark
    assert await claim("n-4", ACME) == ["UpdateItem"]


async def test_a_rival_that_is_faster_than_the_move_wins(filled, jobs, clock):
    """The other account's old row changes between its read and the transaction that moves it."""
    real = filled.client._make_api_call
    raced = False

    def racing(name, arguments):
        nonlocal raced
        if name == "TransactWriteItems" and not raced:
            raced = True
            filled.put_job("waiting", ACME, JobStatus.PENDING, attempt=3)
        return real(name, arguments)

    filled.client._make_api_call = racing
    try:
        ours = new_job("waiting", item=Item(id="i", text="ours"))
        answer = await jobs.claim(key("waiting"), lease_seconds=60, new=ours)
    finally:
        filled.client._make_api_call = real
    assert isinstance(answer, Claimed)
    assert raced
    assert answer.job.item.text == "ours"
    assert (await jobs.get(key("waiting", ACME))).attempt == 3


async def test_what_cannot_be_scanned_is_said(filled, jobs):
    def denied(name, arguments):
        from botocore.exceptions import ClientError  # noqa: PLC0415

        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": name}}, name)

    real, filled.client._make_api_call = filled.client._make_api_call, denied
    try:
        with pytest.raises(StoreUnavailable, match=r"AccessDeniedException.*Scan"):
            await jobs.upgrade()
    finally:
        filled.client._make_api_call = real
