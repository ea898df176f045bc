"""Writes to DynamoDB that share a transaction: what each caller is told, and what another's trouble means to it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from plexus_scoring.model.errors import InvalidRequest, LeaseLost, StoreUnavailable
from plexus_scoring.model.job import Busy, Claimed, Finished, JobStatus
from plexus_scoring.stores import dynamodb
from plexus_scoring.stores.dynamodb import group
from tests.support.clock import HANG_SECONDS
from tests.support.stores import FakeClock, key, new_job, result_of
from tests.unit.stores.test_dynamodb_calls import refusal

JOBS = [f"job-{number}" for number in range(8)]


class Held:
    """A client that can hold its writes back, counts them, and fails where it is told to."""

    def __init__(self, client):
        self._client = client
        # moto evaluates a condition and writes without a lock, AWS does not.
        self._atomic = threading.Lock()
        self.hang = (None, threading.Event())
        self.free = threading.Event()
        self.free.set()
        self.began = threading.Event()
        self.calls = []
        self.faults = []

    def __getattr__(self, name):
        real = getattr(self._client, name)

        def call(**arguments):
            if name in {"update_item", "transact_write_items"}:
                self.calls.append((name, len(arguments.get("TransactItems", "1"))))
                self.began.set()
                self.free.wait()
                if self.hang[0] is not None and self.hang[0] in str(arguments):
                    self.hang[1].wait()
                if self.faults and name == "transact_write_items":
                    fault = self.faults.pop(0)
                    if fault is not None:
                        raise fault
            with self._atomic:
                return real(**arguments)

        return call


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield boto3.client(
                "dynamodb", region_name="us-east-1", config=Config(retries={"max_attempts": 1})
            )


@pytest.fixture
def client(aws):
    dynamodb.create_table(aws, "jobs")
    yield Held(aws)
    aws.delete_table(TableName="jobs")


@pytest.fixture
def jobs(client, clock, monkeypatch):
    # Who waits is not to overtake a write that a busy machine holds up.
    monkeypatch.setattr(group, "LONGEST_WAIT", HANG_SECONDS)
    with ThreadPoolExecutor(8) as threads:
        yield dynamodb.connect("jobs", client=client, executor=threads, clock=clock).jobs


async def together(client, *calls, faults=()):
    """Make the first call, and the others while it is under way; return answers and errors."""
    client.free.clear()
    client.began.clear()
    client.calls.clear()
    first = asyncio.create_task(calls[0])
    await asyncio.to_thread(client.began.wait)
    others = [asyncio.create_task(call) for call in calls[1:]]
    await asyncio.sleep(0)
    client.faults = [None, *faults]
    client.free.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def claims(jobs, names=JOBS):
    return [jobs.claim(key(name), lease_seconds=60, new=new_job(name)) for name in names]


async def claimed(client, jobs, names=JOBS):
    return [answer.lease for answer in await together(client, *claims(jobs, names))]


def completions(jobs, leases):
    return [jobs.complete(lease, result_of(lease.key)) for lease in leases]


async def test_first_claims_that_wait_share_a_write(client, jobs):
    answers = await together(client, *claims(jobs))
    assert client.calls == [("update_item", 1), ("transact_write_items", 7)]
    assert all(isinstance(answer, Claimed) for answer in answers)
    assert len({answer.lease.token for answer in answers}) == len(JOBS)
    for answer in answers:
        assert await jobs.get(answer.job.key) == answer.job
        assert (answer.job.attempt, answer.job.item) == (1, new_job().item)


async def test_completions_that_wait_share_a_transaction(client, jobs):
    leases = await claimed(client, jobs)
    assert await together(client, *completions(jobs, leases)) == [None] * 8
    assert client.calls == [("transact_write_items", 2), ("transact_write_items", 14)]
    for name in JOBS:
        stored = await jobs.get(key(name))
        assert stored.status is JobStatus.COMPLETED
        assert await jobs.result(stored.result_id) == result_of(name)


async def test_a_job_that_another_has_is_refused_alone(client, jobs):
    await jobs.claim(key("job-3"), lease_seconds=60, new=new_job("job-3"))
    answers = await together(client, *claims(jobs))
    assert [type(answer) for answer in answers] == [
        Busy if name == "job-3" else Claimed for name in JOBS
    ]


async def test_stored_jobs_are_taken_or_told_of_as_ever(client, jobs, clock):
    await jobs.create(new_job("job-1"))
    await jobs.claim(key("job-2"), lease_seconds=60, new=new_job("job-2"))
    ended = await jobs.claim(key("job-3"), lease_seconds=60, new=new_job("job-3"))
    await jobs.complete(ended.lease, result_of("job-3"))
    clock.advance(61)
    answers = await together(client, *claims(jobs, JOBS[:4]))
    assert [answer.job.attempt for answer in answers[:3]] == [1, 1, 2]
    assert isinstance(answers[3], Finished)


async def test_a_zombie_is_refused_and_stores_nothing_while_the_others_complete(
    client, jobs, clock
):
    leases = await claimed(client, jobs)
    clock.advance(61)
    taken = await jobs.claim(key("job-5"), lease_seconds=60)
    answers = await together(client, *completions(jobs, leases))
    assert isinstance(answers.pop(5), LeaseLost)
    assert answers == [None] * 7
    assert (await jobs.get(key("job-5"))).lease_token == taken.lease.token
    assert await jobs.result(result_of("job-5").id) is None


async def test_two_claims_of_one_job_do_not_meet_in_a_transaction(client, jobs):
    answers = await together(client, *claims(jobs, ["job-0", "job-1", "job-1", "job-2"]))
    kinds = sorted(type(answer).__name__ for answer in answers)
    assert kinds == ["Busy", "Claimed", "Claimed", "Claimed"]


async def test_a_conflict_dissolves_the_group(client, jobs):
    leases = await claimed(client, jobs, JOBS[:4])
    reasons = ["None", "None", "TransactionConflict", "None", "None", "None"]
    conflict = refusal("TransactionCanceledException", reasons=reasons)
    answers = await together(client, *completions(jobs, leases), faults=[conflict])
    assert answers == [None] * 4
    assert [writes for _, writes in client.calls] == [2, 6, 2, 2, 2]


THROTTLED = refusal(
    "TransactionCanceledException", reasons=["None", "None", "ThrottlingError", "None"]
)


@pytest.mark.parametrize("error", [THROTTLED, refusal("ThrottlingException")])
async def test_throttling_dissolves_the_group_and_each_goes_on_by_itself(client, jobs, error):
    leases = await claimed(client, jobs, JOBS[:4])
    # The group, and then one of its members some times more than a conflict would be waited for.
    faults = [error, *[THROTTLED] * 20]
    answers = await together(client, *completions(jobs, leases), faults=faults)
    assert answers == [None] * 4
    assert [writes for _, writes in client.calls[:2]] == [2, 6]
    assert {writes for _, writes in client.calls[2:]} == {2}
    for name in JOBS[:4]:
        assert (await jobs.get(key(name))).status is JobStatus.COMPLETED


async def test_a_completion_that_is_throttled_for_ever_is_given_up(client, jobs, monkeypatch):
    monkeypatch.setattr(dynamodb.jobs, "_COMPLETION_PATIENCE", 3.0)
    (lease,) = await claimed(client, jobs, JOBS[:1])
    client.faults = [THROTTLED] * 10_000
    with pytest.raises(StoreUnavailable, match="ThrottlingError"):
        await jobs.complete(lease, result_of(lease.key))
    client.faults = []
    await jobs.complete(lease, result_of(lease.key))


async def test_refused_data_is_the_fault_of_its_own_caller(client, jobs):
    leases = await claimed(client, jobs, JOBS[:3])
    invalid = refusal("ValidationException")
    answers = await together(client, *completions(jobs, leases), faults=[invalid, None, invalid])
    assert answers[0] is None
    assert sorted(type(answer) for answer in answers[1:] if answer) == [InvalidRequest]


async def test_an_outage_is_told_to_all_of_the_group(client, jobs):
    leases = await claimed(client, jobs, JOBS[:3])
    away = refusal("InternalServerError")
    answers = await together(client, *completions(jobs, leases), faults=[away])
    assert answers[0] is None
    assert [type(answer) for answer in answers[1:]] == [StoreUnavailable] * 2
    for name in ("job-1", "job-2"):
        assert (await jobs.get(key(name))).status is JobStatus.IN_PROGRESS
    assert await together(client, *completions(jobs, leases)) == [None] * 3


async def test_a_caller_that_is_cancelled_while_it_waits_writes_nothing(client, jobs):
    leases = await claimed(client, jobs, JOBS[:3])
    client.free.clear()
    client.began.clear()
    tasks = [asyncio.create_task(call) for call in completions(jobs, leases)]
    await asyncio.to_thread(client.began.wait)
    tasks[1].cancel()
    await asyncio.sleep(0)
    client.free.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        type(None),
        asyncio.CancelledError,
        type(None),
    ]
    assert (await jobs.get(key("job-1"))).status is JobStatus.IN_PROGRESS


async def test_a_call_that_hangs_is_overtaken(client, jobs, monkeypatch):
    monkeypatch.setattr(group, "LONGEST_WAIT", 0.01)
    leases = await claimed(client, jobs, JOBS[:3])
    client.hang = (leases[0].key.id, threading.Event())
    first, *others = (asyncio.create_task(call) for call in completions(jobs, leases))
    await asyncio.gather(*others)
    assert not first.done()
    client.hang[1].set()
    await first


async def test_more_than_a_transaction_holds_go_in_several(client, jobs):
    names = [f"many-{number}" for number in range(25)]
    leases = await claimed(client, jobs, names)
    assert len({lease.token for lease in leases}) == 25
    assert await together(client, *completions(jobs, leases)) == [None] * 25
    assert max(writes for _, writes in client.calls) == 2 * group.MAX_GROUP
