"""The JobStore port: what every adapter must do, one transition at a time."""

from __future__ import annotations

import asyncio

import pytest

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, LeaseLost, NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import (
    Busy,
    Claimed,
    Finished,
    JobStatus,
    Missing,
    NotDue,
)
from plexus_scoring.ports import JobStore
from plexus_scoring.stores.memory import MemoryJobStore
from tests.support.stores import START, FakeClock, claimed, key, new_job, result_of

ERROR = ErrorInfo(code="engine_unavailable", message="429 from the provider", retryable=True)


def test_is_a_job_store(jobs):
    assert isinstance(jobs, JobStore)


async def test_check_passes(jobs):
    await jobs.check()


# -- create


async def test_a_created_job_is_pending_and_due(jobs):
    job = await jobs.create(new_job())
    assert job == await jobs.get(key("job-1"))
    assert (job.status, job.attempt, job.not_before) == (JobStatus.PENDING, 0, 0.0)
    assert (job.created_at, job.updated_at) == (START, START)
    assert job.item == new_job().item
    assert job.metadata == {"priority": 3}
    assert (job.scorecard, job.score, job.account) == ("call-quality", "Greeting", "default")
    assert (job.lease_token, job.started_at, job.result_id) == (None, None, None)


async def test_creating_twice_keeps_the_first(jobs, clock):
    first = await jobs.create(new_job())
    clock.advance(5)
    assert await jobs.create(new_job(request_id="another", metadata={"priority": 4})) == first


async def test_creating_an_ended_job_changes_nothing(jobs):
    await jobs.create(new_job())
    await jobs.fail((await claimed(jobs)).lease, ERROR)
    assert (await jobs.create(new_job())).status is JobStatus.FAILED


async def test_what_does_not_exist_is_none(jobs):
    assert await jobs.get(key("nothing")) is None
    assert await jobs.result("nothing") is None


@pytest.mark.parametrize("bad", ["", "x" * 513, "é" * 500, "a\0b", "a\ud800b"])
async def test_an_id_that_no_store_can_hold_is_refused(jobs, bad):
    with pytest.raises(InvalidRequest):
        await jobs.create(new_job(bad))
    with pytest.raises(InvalidRequest):
        await jobs.create(new_job(account=bad))
    with pytest.raises(InvalidRequest):
        await jobs.claim(key(bad), lease_seconds=60, new=new_job(bad))


@pytest.mark.parametrize("bad", ["", "x" * 5_000, "é" * 500, "a\0b", "a\ud800b"])
async def test_nothing_is_found_under_an_id_that_no_store_can_hold(jobs, bad):
    assert await jobs.claim(key(bad), lease_seconds=60) == Missing()
    assert await jobs.get(key(bad)) is None
    assert await jobs.result(bad) is None
    assert (await jobs.list_jobs(JobStatus.PENDING, account=bad)).jobs == ()
    assert await jobs.claim_oldest(account=bad, lease_seconds=60) is None
    assert await jobs.list_stranded(account=bad, pending_older_than=0) == ()
    with pytest.raises(NotFound):
        await jobs.redrive(key(bad))


@pytest.mark.parametrize(
    "odd", ["x" * 512, "with space", "ключ", "a#b/c'\";--", "%s {x} :v0", "😀"]
)
async def test_an_odd_id_is_an_id(jobs, odd):
    await jobs.create(new_job(odd, account=odd))
    lease = (await claimed(jobs, key(odd, odd))).lease
    await jobs.complete(lease, result_of(lease.key))
    assert (await jobs.get(key(odd, odd))).status is JobStatus.COMPLETED
    page = await jobs.list_jobs(JobStatus.COMPLETED, account=odd)
    assert [job.id for job in page.jobs] == [odd]


# -- claim


async def test_a_claim_gives_a_lease(jobs):
    await jobs.create(new_job())
    answer = await jobs.claim(key("job-1"), lease_seconds=60)
    assert isinstance(answer, Claimed)
    job, lease = answer.job, answer.lease
    assert (job.status, job.attempt, job.started_at) == (JobStatus.IN_PROGRESS, 1, START)
    assert (lease.key, lease.attempt, lease.expires_at) == (key(), 1, START + 60)
    assert lease.token == job.lease_token
    assert job.item == new_job().item
    assert job == await jobs.get(key("job-1"))


async def test_a_job_that_does_not_exist_is_missing(jobs):
    assert await jobs.claim(key("nothing"), lease_seconds=60) == Missing()
    assert await jobs.get(key("nothing")) is None


async def test_a_leased_job_is_busy(jobs, clock):
    await jobs.create(new_job())
    await claimed(jobs)
    clock.advance(20)
    assert await jobs.claim(key("job-1"), lease_seconds=60) == Busy(40.0)


async def test_an_expired_lease_is_taken_over_as_a_new_attempt(jobs, clock):
    await jobs.create(new_job())
    first = await claimed(jobs)
    clock.advance(59.999)
    assert isinstance(await jobs.claim(key("job-1"), lease_seconds=60), Busy)
    clock.advance(0.001)
    second = await claimed(jobs)
    assert second.job.attempt == 2
    assert second.lease.token != first.lease.token


async def test_an_ended_job_is_finished(jobs):
    await jobs.create(new_job())
    await jobs.complete((await claimed(jobs)).lease, result_of("job-1"))
    answer = await jobs.claim(key("job-1"), lease_seconds=60)
    assert answer == Finished(await jobs.get(key("job-1")), result_of("job-1"))


async def test_a_failed_job_is_finished_without_a_result(jobs):
    await jobs.create(new_job())
    await jobs.fail((await claimed(jobs)).lease, ERROR)
    answer = await jobs.claim(key("job-1"), lease_seconds=60, new=new_job())
    assert answer == Finished(await jobs.get(key("job-1")), None)


async def test_an_inline_job_is_created_and_claimed_in_one(jobs):
    answer = await jobs.claim(key("job-1"), lease_seconds=60, new=new_job())
    assert isinstance(answer, Claimed)
    assert (answer.job.item, answer.job.attempt) == (new_job().item, 1)
    assert answer.job == await jobs.get(key("job-1"))
    assert answer.job.created_at == START


async def test_an_inline_job_that_comes_again_is_the_same_job(jobs):
    first = await jobs.claim(key("job-1"), lease_seconds=60, new=new_job())
    again = new_job(request_id="another", metadata={"priority": 4})
    assert isinstance(await jobs.claim(key("job-1"), lease_seconds=60, new=again), Busy)
    await jobs.complete(first.lease, result_of("job-1"))
    answer = await jobs.claim(key("job-1"), lease_seconds=60, new=again)
    assert (answer.job.request_id, answer.job.metadata) == ("request-of-job-1", {"priority": 3})
    assert answer.result == result_of("job-1")


async def test_an_inline_job_must_have_the_claimed_id(jobs):
    with pytest.raises(InvalidRequest):
        await jobs.claim(key("job-1"), lease_seconds=60, new=new_job("job-2"))


async def test_one_of_many_concurrent_claimers_wins(jobs):
    await jobs.create(new_job())
    answers = await asyncio.gather(*(jobs.claim(key("job-1"), lease_seconds=60) for _ in range(12)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Busy"] * 11 + ["Claimed"]


async def test_one_of_many_concurrent_creators_wins(jobs):
    answers = await asyncio.gather(
        *(jobs.claim(key("job-1"), lease_seconds=60, new=new_job()) for _ in range(12))
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Busy"] * 11 + ["Claimed"]


# -- claim_oldest


async def test_the_oldest_due_job_goes_first(jobs, clock):
    for number in range(4):
        await jobs.create(new_job(f"job-{number}", account=f"account-{number % 2}"))
        clock.advance(1)
    await jobs.release(
        (await claimed(jobs, key("job-0", "account-0"))).lease, delay=100, counted=True
    )
    assert (await jobs.claim_oldest(lease_seconds=60)).job.id == "job-1"
    assert (await jobs.claim_oldest(account="account-1", lease_seconds=60)).job.id == "job-3"
    assert await jobs.claim_oldest(account="account-1", lease_seconds=60) is None
    clock.advance(100)
    oldest = await jobs.claim_oldest(account="account-0", lease_seconds=60)
    assert (oldest.job.id, oldest.lease.attempt) == ("job-0", 2)
    assert (await jobs.claim_oldest(lease_seconds=60)).job.id == "job-2"
    assert await jobs.claim_oldest(lease_seconds=60) is None


async def test_concurrent_pollers_each_get_their_own(jobs):
    for number in range(6):
        await jobs.create(new_job(f"job-{number}"))
    answers = await asyncio.gather(*(jobs.claim_oldest(lease_seconds=60) for _ in range(4)))
    ids = [answer.job.id for answer in answers if answer is not None]
    assert len(ids) == 4
    assert len(set(ids)) == 4


# -- renew


async def test_a_renewed_lease_ends_later(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    clock.advance(50)
    renewed = await jobs.renew(lease, lease_seconds=60)
    assert renewed == lease.__class__(
        key=key(), token=lease.token, expires_at=START + 110, attempt=1
    )
    clock.advance(59)
    assert await jobs.claim(key("job-1"), lease_seconds=60) == Busy(1.0)


async def test_a_lease_that_ran_out_but_that_nobody_took_still_holds(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    clock.advance(1_000)
    lease = await jobs.renew(lease, lease_seconds=60)
    clock.advance(1_000)
    await jobs.complete(lease, result_of("job-1"))
    assert (await jobs.get(key("job-1"))).status is JobStatus.COMPLETED


# -- complete


async def test_completing_stores_the_result_with_the_state(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    clock.advance(3)
    result = result_of("job-1", metadata={"k": [1, 2.5, None, {"x": "é"}]})
    await jobs.complete(lease, result)
    job = await jobs.get(key("job-1"))
    assert await jobs.result(result.id) == result
    assert (job.status, job.result_id, job.completed_at) == (
        JobStatus.COMPLETED,
        result.id,
        START + 3,
    )
    assert (job.lease_token, job.lease_expires_at, job.attempt) == (None, None, 1)


async def test_completing_again_with_the_same_result_succeeds(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    await jobs.complete(lease, result_of("job-1"))
    before = await jobs.get(key("job-1"))
    clock.advance(3)
    await jobs.complete(lease, result_of("job-1"))
    assert await jobs.get(key("job-1")) == before


async def test_completing_again_with_another_result_is_refused(jobs):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    await jobs.complete(lease, result_of("job-1"))
    with pytest.raises(LeaseLost):
        await jobs.complete(lease, result_of("job-1", value="No"))
    assert (await jobs.result(result_of("job-1").id)).value == "Yes"


@pytest.mark.parametrize("change", [{"id": "of-my-own"}, {"job_id": "job-2"}])
async def test_a_result_that_is_not_the_jobs_is_refused(jobs, change):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    with pytest.raises(InvalidRequest):
        await jobs.complete(lease, result_of("job-1", **change))
    assert (await jobs.get(key("job-1"))).status is JobStatus.IN_PROGRESS


# -- release


async def test_a_released_job_waits_for_its_delay(jobs, clock):
    await jobs.create(new_job())
    await jobs.release((await claimed(jobs)).lease, delay=30, counted=True, error=ERROR)
    job = await jobs.get(key("job-1"))
    assert (job.status, job.attempt, job.not_before) == (JobStatus.PENDING, 1, START + 30)
    assert job.last_error == ERROR
    assert (job.lease_token, job.lease_expires_at) == (None, None)
    clock.advance(10)
    assert await jobs.claim(key("job-1"), lease_seconds=60) == NotDue(20.0)
    clock.advance(20)
    assert (await claimed(jobs)).lease.attempt == 2


async def test_an_uncounted_release_costs_no_attempt(jobs):
    await jobs.create(new_job())
    await jobs.release((await claimed(jobs)).lease, delay=0, counted=False)
    assert (await jobs.get(key("job-1"))).attempt == 0
    assert (await claimed(jobs)).lease.attempt == 1


async def test_the_last_error_stays_until_there_is_a_new_one(jobs):
    await jobs.create(new_job())
    await jobs.release((await claimed(jobs)).lease, delay=0, counted=True, error=ERROR)
    await jobs.release((await claimed(jobs)).lease, delay=0, counted=True)
    assert (await jobs.get(key("job-1"))).last_error == ERROR


async def test_releasing_again_changes_nothing(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    await jobs.release(lease, delay=5, counted=False)
    before = await jobs.get(key("job-1"))
    clock.advance(1)
    await jobs.release(lease, delay=5, counted=False)
    assert await jobs.get(key("job-1")) == before


async def test_a_job_released_without_delay_is_due_for_a_clock_that_is_behind(jobs, clock):
    await jobs.create(new_job())
    await jobs.release((await claimed(jobs)).lease, delay=0, counted=True)
    clock.advance(-60)
    assert isinstance(await jobs.claim(key("job-1"), lease_seconds=60), Claimed)


# -- fail, redrive


async def test_a_failed_job_says_why(jobs, clock):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    clock.advance(3)
    await jobs.fail(lease, ERROR)
    job = await jobs.get(key("job-1"))
    assert (job.status, job.last_error) == (JobStatus.FAILED, ERROR)
    assert (job.completed_at, job.lease_expires_at) == (START + 3, None)
    clock.advance(3)
    await jobs.fail(lease, ERROR)
    assert await jobs.get(key("job-1")) == job


async def test_an_errors_message_is_bounded(jobs):
    await jobs.create(new_job())
    await jobs.fail((await claimed(jobs)).lease, ErrorInfo(code="x", message="é\ud800 " * 300_000))
    assert len((await jobs.get(key("job-1"))).last_error.message) <= 2_000


async def test_a_redriven_job_starts_anew(jobs, clock):
    await jobs.create(new_job())
    await jobs.fail((await claimed(jobs)).lease, ERROR)
    clock.advance(100)
    job = await jobs.redrive(key("job-1"))
    with pytest.raises(InvalidRequest):
        await jobs.redrive(key("job-1"))  # another call, in the same moment
    assert job == await jobs.get(key("job-1"))
    assert (job.status, job.attempt, job.not_before) == (JobStatus.PENDING, 0, 0.0)
    assert (job.completed_at, job.updated_at, job.last_error) == (None, START + 100, ERROR)
    second = await claimed(jobs)
    assert second.lease.attempt == 1
    await jobs.complete(second.lease, result_of("job-1"))


async def test_only_failed_jobs_are_redriven(jobs):
    with pytest.raises(NotFound):
        await jobs.redrive(key("nothing"))
    await jobs.create(new_job())
    with pytest.raises(InvalidRequest):
        await jobs.redrive(key("job-1"))
    lease = (await claimed(jobs)).lease
    with pytest.raises(InvalidRequest):
        await jobs.redrive(key("job-1"))
    await jobs.complete(lease, result_of("job-1"))
    with pytest.raises(InvalidRequest):
        await jobs.redrive(key("job-1"))


# -- the fence

TRANSITIONS = {
    "renew": lambda jobs, lease: jobs.renew(lease, lease_seconds=60),
    "complete": lambda jobs, lease: jobs.complete(lease, result_of(lease.key)),
    "release": lambda jobs, lease: jobs.release(lease, delay=0, counted=True),
    "release uncounted": lambda jobs, lease: jobs.release(lease, delay=0, counted=False),
    "fail": lambda jobs, lease: jobs.fail(lease, ERROR),
}
AFTERWARDS = {
    "taken over": None,
    "completed by another": TRANSITIONS["complete"],
    "released by another": TRANSITIONS["release"],
    "failed by another": TRANSITIONS["fail"],
}


@pytest.mark.parametrize("after", AFTERWARDS.values(), ids=AFTERWARDS)
async def test_a_zombie_changes_nothing(jobs, clock, after):
    await jobs.create(new_job())
    zombie = (await claimed(jobs)).lease
    clock.advance(61)
    other = (await claimed(jobs)).lease
    if after:
        await after(jobs, other)
    before = await jobs.get(key("job-1"))
    result = await jobs.result(result_of("job-1").id)
    for transition in TRANSITIONS.values():
        with pytest.raises(LeaseLost):
            await transition(jobs, zombie)
    assert await jobs.get(key("job-1")) == before
    assert await jobs.result(result_of("job-1").id) == result


@pytest.mark.parametrize("transition", TRANSITIONS.values(), ids=TRANSITIONS)
async def test_a_transition_of_a_job_that_is_gone_is_refused(jobs, transition):
    other = MemoryJobStore(clock=FakeClock())
    await other.create(new_job())
    with pytest.raises(LeaseLost):
        await transition(jobs, (await claimed(other)).lease)
    assert await jobs.get(key("job-1")) is None


@pytest.mark.parametrize("ended", ["complete", "release", "fail"])
async def test_an_ended_attempt_cannot_end_otherwise(jobs, ended):
    await jobs.create(new_job())
    lease = (await claimed(jobs)).lease
    await TRANSITIONS[ended](jobs, lease)
    before = await jobs.get(key("job-1"))
    for name, transition in TRANSITIONS.items():
        if not name.startswith(ended):
            with pytest.raises(LeaseLost):
                await transition(jobs, lease)
    assert await jobs.get(key("job-1")) == before


# -- reuse


async def test_the_newest_result_of_the_same_content_is_found(jobs):
    key = {"item_digest": "d" * 64, "score_version": "v" * 16}
    assert await jobs.find_result(**key, score="Greeting") is None
    for number, age in enumerate((2, 1, 3)):
        job_id = f"job-{number}"
        await jobs.create(new_job(job_id))
        result = result_of(job_id, **key, created_at=START - age, value=f"of {job_id}")
        await jobs.complete((await claimed(jobs, job_id)).lease, result)
    assert (await jobs.find_result(**key, score="Greeting")).value == "of job-1"
    assert await jobs.find_result(**key, score="Another") is None
    assert await jobs.find_result(**{**key, "score_version": "w"}, score="Greeting") is None


async def test_a_result_without_digest_or_version_is_not_reused(jobs):
    await jobs.create(new_job())
    result = result_of("job-1", item_digest="d", score_version=None)
    await jobs.complete((await claimed(jobs)).lease, result)
    assert await jobs.find_result(item_digest="d", score_version="None", score="Greeting") is None


# -- odd and large content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nul \0 here",
        "line\r\n\t",
        "😀 é 漢字 \u202e",
        "\ufffe\uffff",
        '{"a": "\\u0000"}',
        "\x7f\x01",
    ],
)
async def test_text_comes_back_as_it_was(jobs, text):
    item = Item(id="i", text=text, metadata={text or "k": text})
    job = await jobs.create(new_job(item=item, metadata={"t": text}, score=text, scorecard=text))
    assert job.item == item
    answer = await claimed(jobs)
    assert (answer.job.item, answer.job.metadata, answer.job.score) == (item, {"t": text}, text)
    result = result_of("job-1", value=text, explanation=text, score=text)
    await jobs.complete(answer.lease, result)
    assert await jobs.result(result.id) == result


async def test_a_lone_surrogate_becomes_a_replacement_character(jobs):
    item = Item(id="i\udfff", text="a\ud800b", metadata={"k\udc00": ["\ud800"]})
    answer = await jobs.claim(
        key("job-1"), lease_seconds=60, new=new_job(item=item, request_id="\ud800")
    )
    assert answer.job.item.text == "a\ufffdb"
    assert answer.job.item.metadata == {"k\ufffd": ["\ufffd"]}
    result = result_of("job-1", value="\ud800", explanation="\ud800\udc00", item_digest="\ud800",
                       score_version="v", score="\ud801")  # fmt: skip
    await jobs.complete(answer.lease, result)
    await jobs.complete(answer.lease, result)
    stored = await jobs.result(result.id)
    assert (stored.value, stored.explanation) == ("\ufffd", "\U00010000")


@pytest.mark.parametrize("character", ["x", "漢", "\0"])
async def test_no_text_is_too_large(jobs, character):
    text = character * 700_000
    item = Item(id="i", text=text)
    answer = await jobs.claim(key("job-1"), lease_seconds=60, new=new_job(item=item))
    assert answer.job.item == item
    result = result_of("job-1", explanation=text, metadata={"trace": text})
    await jobs.complete(answer.lease, result)
    assert await jobs.result(result.id) == result
    assert (await jobs.get(key("job-1"))).item == item
    assert (await jobs.list_jobs(JobStatus.COMPLETED)).jobs[0].item == item
    assert (await jobs.claim(key("job-1"), lease_seconds=60)).result == result


async def test_numbers_keep_their_value(jobs):
    metadata = {"tiny": 5e-324, "third": 1 / 3, "big": 2**63, "huge": 1e308, "zero": -0.0, "i": -1}
    job = await jobs.create(new_job(metadata=metadata))
    assert job.metadata == metadata
    assert (await jobs.get(key("job-1"))).metadata == metadata
    result = result_of("job-1", confidence=0.1 + 0.2, created_at=START + 1 / 3)
    await jobs.complete((await claimed(jobs)).lease, result)
    assert await jobs.result(result.id) == result


async def test_what_json_cannot_say_is_refused(jobs):
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for metadata in ({"x": object()}, {"x": nested}):
        with pytest.raises(InvalidRequest):
            await jobs.create(new_job(metadata=metadata))
        assert await jobs.get(key("job-1")) is None


async def test_what_is_given_out_is_no_part_of_the_store(jobs):
    metadata = {"a": 1}
    await jobs.create(new_job(metadata=metadata))
    metadata["a"] = 2
    assert (await jobs.get(key("job-1"))).metadata == {"a": 1}


async def test_closing_twice_is_safe(jobs):
    await jobs.aclose()
    await jobs.aclose()
