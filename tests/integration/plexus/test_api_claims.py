"""Plexus's own claim of a job beside our lease, against an API that has it as Plexus 1.63's proxy does."""

import pytest

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Busy, Claimed, Finished, JobStatus, NewJob
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.stores.memory import MemoryJobStore
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account, connect
from tests.support.service import FakeClock
from tests.support.stores import key

KEY = key("job-1", "acme")
OURS = result_id_of(KEY)
THEIRS = "result-of-plexus"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def api(clock):
    with GraphQLServer(now=clock.now, claims=True) as server:
        yield server


@pytest.fixture
def leases(clock):
    return MemoryJobStore(clock=clock)


@pytest.fixture
async def jobs(api, tmp_path, clock, leases):
    stores = connect(api, tmp_path, clock, leases=leases)
    yield stores.jobs
    await stores.aclose()


@pytest.fixture
def account(api):
    account = Account(api)
    account.add_job()
    return account


def claim_of_plexus(api, account, **changed):
    """Have a worker of Plexus claim the job."""
    values = {
        "accountId": account.id,
        "scoringJobId": "job-1",
        "itemId": "item-1",
        "scorecardId": account.scorecard,
        "scoreId": account.score,
        "scoreResultId": THEIRS,
    }
    return api.tables.claim(values | changed)["state"]


def result(job):
    return ScoreResult(
        id=OURS, job_id=job.id, scorecard=job.scorecard, score=job.score, value="Yes",
        created_at=1.0, item_id=job.item_id, account=job.account,
    )  # fmt: skip


async def claim(jobs):
    return await jobs.claim(KEY, lease_seconds=60)


async def test_what_we_claim_is_claimed_in_plexus_and_our_result_ends_it(api, account, jobs):
    answer = await claim(jobs)
    assert isinstance(answer, Claimed)
    assert claim_of_plexus(api, account) == "IN_PROGRESS"
    await jobs.complete(answer.lease, result(answer.job))
    assert claim_of_plexus(api, account) == "COMPLETED"
    assert isinstance(await claim(jobs), Finished)
    assert [record["id"] for record in api.all("ScoreResult")] == [OURS]


async def test_a_job_that_a_worker_of_plexus_has_claimed_is_left_to_it(api, account, jobs, clock):
    assert claim_of_plexus(api, account) == "CLAIMED"
    answer = await claim(jobs)
    assert isinstance(answer, Busy)
    assert answer.retry_after > 0
    assert api.get("ScoringJob", "job-1")["status"] == "PENDING"
    assert (await jobs.get(KEY)).attempt == 0  # being kept away costs no attempt

    await clock.sleep(121)  # the worker of Plexus is gone, and its claim with it
    assert isinstance(await claim(jobs), Claimed)


async def test_a_job_that_a_worker_of_plexus_has_ended_is_answered_with_its_result(
    api, account, jobs
):
    claim_of_plexus(api, account)
    api.put(
        "ScoreResult", id=THEIRS, value="No", accountId=account.id, itemId="item-1",
        scorecardId=account.scorecard, scoreId=account.score, scoringJobId="job-1",
    )  # fmt: skip
    answer = await claim(jobs)
    assert isinstance(answer, Finished)
    assert (answer.result.id, answer.result.value) == (THEIRS, "No")


async def test_a_result_that_a_claim_names_and_nobody_finds_is_looked_for_again(api, account, jobs):
    claim_of_plexus(api, account)
    other = Account(api, "other")
    api.put(
        "ScoreResult", id=THEIRS, value="No", accountId=other.id, itemId="i",
        scorecardId=other.scorecard, scoringJobId="job-1",
    )  # fmt: skip
    with pytest.raises(StoreUnavailable, match=THEIRS):
        await claim(jobs)
    assert (await jobs.get(KEY)).status is JobStatus.PENDING


async def test_a_job_id_of_another_item_fails_the_job(api, account, jobs):
    assert claim_of_plexus(api, account, itemId="item-2") == "CLAIMED"
    answer = await claim(jobs)
    assert isinstance(answer, Finished)
    assert answer.result is None
    assert answer.job.last_error.code == "invalid_request"
    assert "bound to another item or score" in answer.job.last_error.message
    assert api.get("ScoringJob", "job-1")["status"] == "FAILED"


async def test_an_attempt_after_a_crash_of_ours_goes_on_under_our_own_claim(
    api, account, jobs, clock
):
    assert isinstance(await claim(jobs), Claimed)
    await clock.sleep(61)  # our lease has run out; the claim in Plexus holds for another minute
    answer = await claim(jobs)
    assert isinstance(answer, Claimed)
    assert answer.job.attempt == 2


async def test_an_inline_job_is_claimed_as_well(api, account, jobs):
    new = NewJob(
        id="inline", account="acme", scorecard="call-quality", score="Greeting",
        item=Item(id="i", text="hello"),
    )  # fmt: skip
    answer = await jobs.claim(new.key, lease_seconds=60, new=new)
    assert isinstance(answer, Claimed)
    ((_, held),) = api.tables.claims.items()
    assert held["scoreResultId"] == result_id_of(new.key)
    assert (held["scorecardId"], held["scoreId"]) == (account.scorecard, account.score)


async def test_an_api_without_claims_is_asked_once(tmp_path, clock):
    with GraphQLServer(now=clock.now) as api:
        account = Account(api)
        stores = connect(api, tmp_path, clock)
        for number in (1, 2, 3):
            account.add_job(f"job-{number}")
            answer = await stores.jobs.claim(key(f"job-{number}", "acme"), lease_seconds=60)
            assert isinstance(answer, Claimed)
        assert api.counted()["ClaimScoringJob"] == 1
        await stores.aclose()


async def test_an_api_that_cannot_be_asked_now_gives_the_job_back(api, account, jobs):
    api.before["ClaimScoringJob"] = lambda _: api.fail(503, times=4)
    with pytest.raises(StoreUnavailable):
        await claim(jobs)
    job = await jobs.get(KEY)
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)


@pytest.mark.parametrize(
    "errors",
    [
        [{"message": "Validation error of type UnknownType: Unknown type ClaimScoringJobInput"}],
        [{"message": "operation claimScoringJob is not supported here"}],
        [{"message": "not allowed", "errorType": "Forbidden", "path": ["claimScoringJob"]}],
    ],
    ids=["AppSync", "a proxy", "a field"],
)
async def test_an_api_that_refuses_claims_is_worked_with_without_them(api, account, jobs, errors):
    api.before["ClaimScoringJob"] = lambda _: api.fail(200, {"data": None, "errors": errors})
    assert isinstance(await claim(jobs), Claimed)
    account.add_job("job-2")
    assert isinstance(await jobs.claim(key("job-2", "acme"), lease_seconds=60), Claimed)
    assert api.counted()["ClaimScoringJob"] == 1
