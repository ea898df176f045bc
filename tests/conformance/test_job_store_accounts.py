"""The JobStore port with two accounts that use the same ids, and with other content under a job's key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, LeaseLost, NotFound
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import Busy, Claimed, Finished, JobStatus, Missing
from plexus_scoring.model.result import result_id_of
from tests.support.stores import START, claimed, key, new_job, result_of

ERROR = ErrorInfo(code="x", message="y")
# Every pair would be one text if the two parts were merely joined. Not one of them is the default account.
NEIGHBOURS = [
    (key("same", "default"), key("same", "other")),
    (key("same", "one"), key("same", "two")),
    (key("b/c", "a"), key("c", "a/b")),
    (key("b#c", "a"), key("c", "a#b")),
    (key("one/x", "default"), key("x", "one")),
    (key("/3:one/x", "default"), key("x", "one")),
    (key("x", "default/one"), key("one/x", "default")),
    (key("@one/x", "default"), key("x", "one")),
]
both = pytest.mark.parametrize(("mine", "theirs"), NEIGHBOURS, ids=lambda one: one.text)


def job_of(of: Any, **changes: Any) -> Any:
    item = Item(id="item", text=f"the text of {of.text}")
    return new_job(of.id, account=of.account, item=item, **changes)


@both
async def test_the_same_id_in_two_accounts_is_two_jobs(jobs, mine, theirs):
    first, second = await jobs.create(job_of(mine)), await jobs.create(job_of(theirs))
    assert (first.key, second.key) == (mine, theirs)
    assert (first.item, second.item) == (job_of(mine).item, job_of(theirs).item)
    assert await jobs.get(mine) == first
    assert await jobs.get(theirs) == second
    assert await jobs.get(key("same", "third")) is None


@both
async def test_what_happens_to_one_does_not_touch_the_other(jobs, clock, mine, theirs):
    for each in (mine, theirs):
        await jobs.create(job_of(each))
    untouched = await jobs.get(theirs)
    lease = (await claimed(jobs, mine)).lease
    assert lease.key == mine
    lease = await jobs.renew(lease, lease_seconds=90)
    await jobs.release(lease, delay=0, counted=True, error=ERROR)
    await jobs.fail((await claimed(jobs, mine)).lease, ERROR)
    assert (await jobs.redrive(mine)).key == mine
    lease = (await claimed(jobs, mine)).lease
    assert await jobs.get(theirs) == untouched
    with pytest.raises(InvalidRequest):
        await jobs.redrive(theirs)  # it did not fail
    await jobs.complete(lease, result_of(mine, value="mine"))
    assert await jobs.get(theirs) == untouched
    assert await jobs.result(result_of(theirs).id, account=theirs.account) is None

    other = await claimed(jobs, theirs)
    assert (other.job.item, other.lease.attempt) == (job_of(theirs).item, 1)
    await jobs.complete(other.lease, result_of(theirs, value="theirs"))
    for each, value in ((mine, "mine"), (theirs, "theirs")):
        answer = await jobs.claim(each, lease_seconds=60, new=job_of(each))
        assert isinstance(answer, Finished)
        assert (answer.job.key, answer.result) == (each, result_of(each, value=value))


async def test_inline_jobs_of_two_accounts_are_each_their_own(jobs):
    keys = [key("same", account) for account in ("default", "one", "two")]
    answers = await asyncio.gather(
        *(jobs.claim(each, lease_seconds=60, new=job_of(each)) for each in keys)
    )
    for each, answer in zip(keys, answers, strict=True):
        assert isinstance(answer, Claimed)
        assert (answer.job.key, answer.job.item) == (each, job_of(each).item)
    assert len({answer.lease.token for answer in answers}) == 3
    await asyncio.gather(
        *(jobs.complete(a.lease, result_of(a.job, value=a.job.account)) for a in answers)
    )
    for each in keys:
        result = await jobs.result(result_id_of(each), account=each.account)
        assert (result.value, result.account) == (each.account, each.account)


async def test_another_accounts_job_does_not_exist(jobs):
    await jobs.create(job_of(key("theirs", "one")))
    for account in ("default", "two", "", "a\0b"):
        stranger = key("theirs", account)
        assert await jobs.get(stranger) is None
        assert await jobs.claim(stranger, lease_seconds=60) == Missing()
        with pytest.raises(NotFound):
            await jobs.redrive(stranger)
        assert await jobs.claim_oldest(account="two", lease_seconds=60) is None


async def test_a_result_is_not_found_from_another_account(jobs):
    for account in ("default", "one"):
        mine = key("done", account)
        await jobs.create(job_of(mine))
        await jobs.complete((await claimed(jobs, mine)).lease, result_of(mine))
        assert await jobs.result(result_id_of(mine), account=account) == result_of(mine)
        assert await jobs.result(result_id_of(mine), account="two") is None
    assert await jobs.result(result_id_of(key("done", "one"))) is None
    assert await jobs.result(result_id_of(key("done")), account="one") is None


async def test_a_lease_is_good_for_its_own_job_only(jobs):
    mine, theirs = key("same"), key("same", "one")
    leases = {}
    for each in (mine, theirs):
        await jobs.create(job_of(each))
        leases[each] = (await claimed(jobs, each)).lease
    forged = type(leases[mine])(
        key=theirs, token=leases[mine].token, expires_at=START + 60, attempt=1
    )
    for call in (
        jobs.complete(forged, result_of(theirs)),
        jobs.fail(forged, ERROR),
        jobs.release(forged, delay=0, counted=True),
        jobs.renew(forged, lease_seconds=60),
    ):
        with pytest.raises(LeaseLost):
            await call
    with pytest.raises(InvalidRequest):
        await jobs.complete(leases[mine], result_of(theirs))
    with pytest.raises(InvalidRequest):
        await jobs.complete(leases[mine], result_of(mine, account="one"))


async def test_each_account_has_its_own_listings(jobs, clock):
    for each in (key("same"), key("same", "one"), key("other", "one")):
        await jobs.create(job_of(each))
        clock.advance(1)
    await claimed(jobs, key("other", "one"), lease_seconds=10)

    async def listed(status, account):
        found, cursor = [], None
        while True:
            page = await jobs.list_jobs(status, account=account, limit=1, cursor=cursor)
            found += [job.key for job in page.jobs]
            cursor = page.cursor
            if cursor is None:
                return found

    assert await listed(JobStatus.PENDING, "default") == [key("same")]
    assert await listed(JobStatus.PENDING, "one") == [key("same", "one")]
    assert await listed(JobStatus.IN_PROGRESS, "one") == [key("other", "one")]
    assert await listed(JobStatus.PENDING, "two") == []
    clock.advance(60)
    stranded = await jobs.list_stranded(pending_older_than=10)
    assert sorted(job.key for job in stranded) == sorted(
        [key("same"), key("same", "one"), key("other", "one")]
    )
    stranded = await jobs.list_stranded(pending_older_than=10, account="one")
    assert {job.account for job in stranded} == {"one"}
    assert (await jobs.claim_oldest(account="one", lease_seconds=60)).job.key == key("same", "one")


async def test_an_answer_is_reused_within_its_account_only(jobs):
    content = {"item_digest": "d" * 64, "score_version": "v" * 16}
    accounts = ("default", "one", "two")
    for age, account in enumerate(accounts):  # the other accounts' are never the older ones alone
        mine = key("same", account)
        await jobs.create(job_of(mine))
        result = result_of(mine, **content, value=account, created_at=START - age)
        await jobs.complete((await claimed(jobs, mine)).lease, result)
    for account in accounts:
        found = await jobs.find_result(**content, score="Greeting", account=account)
        assert (found.account, found.value) == (account, account)
    assert await jobs.find_result(**content, score="Greeting", account="three") is None


async def test_checkpoints_are_their_accounts_own(stores):
    for mine, theirs in NEIGHBOURS:
        await stores.checkpoints.save(mine, "node", mine.text.encode())
        await stores.checkpoints.save(theirs, "node", theirs.text.encode())
        assert await stores.checkpoints.load(mine) == {"node": mine.text.encode()}
        assert await stores.checkpoints.load(theirs) == {"node": theirs.text.encode()}
    assert await stores.checkpoints.load(key("same", "third")) == {}


# -- other content under the same key

ITEM = Item(
    id="item-1", text="Hello.", metadata={"a": 1, "b": {"c": [1, 2.5, None], "d": ""}}
)  # fmt: skip
OTHER = {
    "scorecard": {"scorecard": "another"},
    "score": {"score": "Another"},
    "item's id": {"item": Item(id="item-2", text="Hello.", metadata=ITEM.metadata)},
    "text": {"item": Item(id="item-1", text="Hello!", metadata=ITEM.metadata)},
    "no text": {"item": Item(id="item-1", text="", metadata=ITEM.metadata)},
    "metadata": {"item": Item(id="item-1", text="Hello.", metadata={**ITEM.metadata, "a": 2})},
    "a null more": {"item": Item(id="item-1", text="Hello.", metadata={**ITEM.metadata, "z": None})},
    "order of a list": {
        "item": Item(id="item-1", text="Hello.", metadata={"a": 1, "b": {"c": [2.5, 1, None], "d": ""}})
    },
    "external id": {"item": Item(id="item-1", text="Hello.", metadata=ITEM.metadata, external_id="e")},
    "s3": {"item": Item(id="item-1", s3=ObjectRef("b", "k"), metadata=ITEM.metadata)},
    "stored item": {"item": None, "item_id": "item-1"},
}  # fmt: skip
other_content = pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
account = pytest.mark.parametrize("account", ["default", "one"])
LINE = "job job-1: the id is used already for another scorecard, score or item in this account; use a new id"


@account
@other_content
async def test_other_content_under_a_jobs_key_is_refused(jobs, clock, change, account):
    mine = key("job-1", account)
    first = new_job(item=ITEM, account=account)
    other = new_job(account=account, **{"item": ITEM, **change})
    stored = await jobs.create(first)

    async def refused():
        before = await jobs.get(mine)
        for call in (jobs.create(other), jobs.claim(mine, lease_seconds=60, new=other)):
            with pytest.raises(InvalidRequest) as refusal:
                await call
            assert refusal.value.message == LINE
        assert await jobs.get(mine) == before

    await refused()  # PENDING and due: a claim would win
    assert await jobs.get(mine) == stored
    lease = (await claimed(jobs, mine, lease_seconds=10)).lease
    await refused()  # under a lease
    clock.advance(11)
    await refused()  # past it
    await jobs.complete(lease, result_of(mine))
    await refused()  # ended
    assert await jobs.create(first) == await jobs.get(mine)


@account
async def test_the_same_content_in_other_words_is_the_same_job(jobs, account):
    mine = key("job-1", account)
    spoken = "a\ud800b"  # a lone surrogate: stored as U+FFFD
    first = new_job(
        account=account,
        item=Item(id="item-1", text=spoken, metadata={"a": 1, "b": {"x": (1, 2), "y": None}}),
    )
    again = new_job(
        account=account,
        item_id="item-1",
        item=Item(id="item-1", text=spoken, metadata={"b": {"y": None, "x": [1, 2]}, "a": 1}, external_id=""),
        request_id=None,
        metadata={},
    )  # fmt: skip
    stored = await jobs.create(first)
    assert await jobs.create(again) == stored
    answer = await jobs.claim(mine, lease_seconds=60, new=again)
    assert isinstance(answer, Claimed)
    assert isinstance(await jobs.claim(mine, lease_seconds=60, new=again), Busy)
    await jobs.complete(answer.lease, result_of(mine))
    for new in (first, again):
        answer = await jobs.claim(mine, lease_seconds=60, new=new)
        assert (answer.result, answer.job.status) == (result_of(mine), JobStatus.COMPLETED)


@account
async def test_other_content_is_refused_where_the_text_is_large(jobs, account):
    mine = key("job-1", account)
    large = [new_job(account=account, item=Item(id="i", text=letter * 100_000)) for letter in "ab"]
    answer = await jobs.claim(mine, lease_seconds=60, new=large[0])
    assert isinstance(answer, Claimed)
    with pytest.raises(InvalidRequest):
        await jobs.claim(mine, lease_seconds=60, new=large[1])
    assert isinstance(await jobs.claim(mine, lease_seconds=60, new=large[0]), Busy)


@account
async def test_of_two_contents_that_come_at_once_one_wins(jobs, account):
    mine = key("job-1", account)
    news = [new_job(account=account, score=f"Score {number % 2}") for number in range(10)]
    answers = await asyncio.gather(
        *(jobs.claim(mine, lease_seconds=60, new=new) for new in news), return_exceptions=True
    )
    kinds = [type(answer).__name__ for answer in answers]
    assert sorted(kinds) == ["Busy"] * 4 + ["Claimed"] + ["InvalidRequest"] * 5
    (winner,) = [answer for answer in answers if isinstance(answer, Claimed)]
    assert {
        news[number].score for number, kind in enumerate(kinds) if kind != "InvalidRequest"
    } == {winner.job.score}


async def test_a_claim_by_key_takes_the_job_whatever_its_content(jobs):
    await jobs.create(new_job(item=ITEM))
    assert (await claimed(jobs)).job.item == ITEM
