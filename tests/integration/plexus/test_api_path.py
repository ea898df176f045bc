"""One job from PENDING in Plexus to COMPLETED there, and what may come between."""

import json

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Retry
from plexus_scoring.model.errors import NotFound, StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Busy, Finished, JobStatus, Missing, NewJob
from plexus_scoring.model.result import result_id_of
from tests.support.plexus_api import Account, connect
from tests.support.stores import key

RESULT = result_id_of(key("job-1", "acme"))


async def test_a_warm_job_takes_three_round_trips(world):
    for number in range(3):
        world.account.add_job(f"job-{number}")
    assert await world.handle("job-0") == Ack()
    world.server.forget()
    assert await world.handle("job-1") == Ack()
    assert world.server.operations == ["Job", "UpdateJob", "Publish"]
    assert await world.handle("job-2") == Ack()
    assert world.server.connections == 1


async def test_the_result_has_what_plexus_writes_and_more(world):
    world.account.add_job()
    assert await world.handle() == Ack()
    job, result = world.job(), world.server.get("ScoreResult", RESULT)
    assert (job["status"], "startedAt" in job, "completedAt" in job) == ("COMPLETED", True, True)
    shown = {name: result[name] for name in (
        "value", "itemId", "accountId", "scorecardId", "scoreId", "scoringJobId", "scoreVersionId",
        "code", "type", "status",
    )}  # fmt: skip
    assert shown == {
        "value": "Yes", "itemId": "item-1", "accountId": "account-acme", "scorecardId": "acme-card",
        "scoreId": "acme-greeting", "scoringJobId": "job-1", "scoreVersionId": "acme-greeting-v1",
        "code": "200", "type": "prediction", "status": "COMPLETED",
    }  # fmt: skip
    metadata = json.loads(result["metadata"])
    assert metadata["source"] == "Worker"
    assert metadata["external_id"] == "report-1"
    assert json.loads(result["cost"])["total_cost"] == 0
    keys = result["attachments"]
    assert all(name.startswith(f"scoreresults/{RESULT}/") for name in keys)
    for name in keys:
        assert await world.stores.attachments.get(name)
    if f"scoreresults/{RESULT}/trace.json" in keys:
        assert json.loads(result["trace"])
    body = world.responder.sent[0].body()
    assert (body["score_result_id"], body["value"]) == (RESULT, "Yes")


async def test_a_second_delivery_answers_the_same_and_writes_nothing(world):
    world.account.add_job()
    await world.handle()
    world.server.forget()
    assert await world.handle() == Ack()
    assert world.server.operations == ["Job"]
    assert len(world.server.all("ScoreResult")) == 1
    assert world.responder.sent[0].body() == world.responder.sent[1].body()


async def test_the_items_metadata_keeps_its_types(world):
    world.account.add_job()
    item = await world.stores.catalog.item("item-1", account="acme")
    assert item.metadata == {"channel": "phone", "looks": "123"}
    assert (item.external_id, item.account_id) == ("report-1", "acme")


async def test_the_api_down_at_the_end_costs_no_second_score(world):
    world.account.add_job()
    world.server.before["Publish"] = lambda _: world.server.fail(503, times=8)
    assert isinstance(await world.handle(), Retry)
    assert world.job()["status"] == "IN_PROGRESS"
    assert world.responder.sent == []
    world.server.before.clear()
    world.server.faults.clear()
    world.server.forget()
    assert await world.handle() == Ack()
    assert world.server.operations == ["Job", "Publish"]
    assert world.job()["status"] == "COMPLETED"
    assert world.server.get("ScoreResult", RESULT)["scoreVersionId"] == "acme-greeting-v1"
    assert (await world.leases.get(key("job-1", "acme"))).attempt == 1


async def test_a_job_whose_start_cannot_be_shown_is_given_back(world):
    world.account.add_job()
    world.server.before["UpdateJob"] = lambda _: world.server.fail(503, times=8)
    assert isinstance(await world.handle(), Retry)
    world.server.before.clear()
    world.server.faults.clear()
    job = await world.leases.get(key("job-1", "acme"))
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)
    assert await world.handle() == Ack()


async def test_a_failed_job_says_why_in_255_characters(world):
    score = world.account.add_score("Broken", "name: Broken\nclass: LangGraphScore\ngraph: []\n")
    world.account.add_job(scoreId=score)
    assert isinstance(await world.handle(), DeadLetter)
    job = world.job()
    assert job["status"] == "FAILED"
    assert 0 < len(job["errorMessage"]) <= 255


async def test_a_job_that_plexus_finished_is_not_scored_again(world):
    world.account.add_job(status="COMPLETED")
    world.server.put(
        "ScoreResult", id="theirs", value="No", itemId="item-1", accountId=world.account.id,
        scorecardId=world.account.scorecard, scoreId=world.account.score, scoringJobId="job-1",
        explanation="why", attachments=["scoreresults/theirs/trace.json"], cost='{"total_cost": "0.5"}',
    )  # fmt: skip
    assert await world.handle() == Ack()
    body = world.responder.sent[0].body()
    assert (body["score_result_id"], body["value"], body["explanation"]) == ("theirs", "No", "why")
    assert body["cost"]["total_cost"] == 0.5
    assert (await world.stores.jobs.result("theirs", account="acme")).value == "No"
    assert len(world.server.all("ScoreResult")) == 1


async def test_a_job_that_plexus_ends_between_our_read_and_our_claim_is_not_scored(world):
    world.account.add_job()

    def theirs(_):
        world.server.put("ScoringJob", **{**world.job(), "status": "COMPLETED"})

    world.server.before["UpdateJob"] = theirs
    answer = await world.stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    assert isinstance(answer, Finished)
    assert (await world.leases.get(key("job-1", "acme"))).status is JobStatus.PENDING


async def test_a_job_that_plexus_works_on_is_left_to_it_for_a_while(world):
    started = world.server.tables.timestamp()
    world.account.add_job(status="IN_PROGRESS", startedAt=started)
    assert await world.stores.jobs.claim(key("job-1", "acme"), lease_seconds=60) == Busy(900.0)
    world.clock.advance(901)
    assert await world.handle() == Ack()
    assert world.job()["status"] == "COMPLETED"


async def test_a_failed_job_that_someone_set_to_pending_is_scored_again(world):
    score = world.account.add_score("Broken", "name: Broken\nclass: LangGraphScore\ngraph: []\n")
    world.account.add_job(scoreId=score)
    await world.handle()
    world.server.put(
        "ScoringJob", **{**world.job(), "status": "PENDING", "scoreId": world.account.score}
    )
    assert isinstance(await world.handle(), DeadLetter | Ack)
    assert (await world.leases.get(key("job-1", "acme"))).attempt == 1


async def test_a_job_of_another_account_is_no_job(world, server):
    Account(server, "other").add_job("theirs", item_id="their-item")
    assert await world.stores.jobs.claim(key("theirs", "acme"), lease_seconds=60) == Missing()
    assert await world.stores.jobs.get(key("theirs", "acme")) is None
    assert isinstance(await world.handle("theirs"), DeadLetter)
    assert server.get("ScoringJob", "theirs")["status"] == "PENDING"


async def test_a_job_that_is_named_with_another_account_is_no_job(world):
    """Neither by its own account's name for it, nor under ours."""
    world.account.add_job()
    for stranger in (key("job-1"), key("job-1", "other")):
        assert await world.stores.jobs.claim(stranger, lease_seconds=60) == Missing()
        assert await world.stores.jobs.get(stranger) is None
        with pytest.raises(NotFound):
            await world.stores.jobs.redrive(stranger)
    await world.handle()
    assert await world.stores.jobs.result(RESULT) is None
    assert (await world.stores.jobs.result(RESULT, account="acme")).value == "Yes"


async def test_a_record_that_was_edited_in_plexus_is_still_the_same_job(world):
    world.account.add_job()
    jobs = world.stores.jobs
    answer = await jobs.claim(key("job-1", "acme"), lease_seconds=60)
    await jobs.release(answer.lease, delay=0, counted=True)
    world.server.put("ScoringJob", **{**world.job(), "scoreId": "edited"})
    answer = await jobs.claim(key("job-1", "acme"), lease_seconds=60)
    assert (answer.job.score, answer.job.attempt) == (world.account.score, 2)


async def test_another_accounts_result_under_the_same_job_id_is_not_ours(world, server):
    """Plexus's index of results knows the job's id only."""
    other = Account(server, "other")
    world.account.add_job(status="COMPLETED")
    for owner, value, at in ((world.account, "Ours", "01"), (other, "Theirs", "02")):
        world.server.put(
            "ScoreResult", id=owner.id, value=value, itemId="item-1", accountId=owner.id,
            scorecardId="c", scoreId="s", scoringJobId="job-1", createdAt=f"2026-01-{at}T00:00:00Z",
        )  # fmt: skip
    assert await world.handle() == Ack()
    assert world.responder.sent[0].value == "Ours"


async def test_an_item_of_another_account_is_no_item(world, server):
    Account(server, "other").add_job("theirs", item_id="their-item")
    world.account.add_job(item_id="their-item")
    assert isinstance(await world.handle(), DeadLetter)
    assert "does not exist" in world.job()["errorMessage"]


async def test_the_oldest_pending_job_goes_first(world):
    for number, status in enumerate(("COMPLETED", "PENDING", "FAILED", "PENDING")):
        world.account.add_job(f"job-{number}", status=status)
        world.clock.advance(1)
    assert (await world.service.handle_oldest(account="acme"))[0] == "job-1"
    assert (await world.service.handle_oldest(account="acme"))[0] == "job-3"
    assert await world.service.handle_oldest(account="acme") is None
    assert world.job("job-3")["status"] == "COMPLETED"


async def test_old_jobs_made_pending_again_are_found(world):
    for number in range(3):
        world.account.add_job(f"job-{number}")
        world.clock.advance(1)
    for _ in range(3):
        await world.service.handle_oldest(account="acme")
    world.account.add_job("job-9")
    assert (await world.service.handle_oldest(account="acme"))[0] == "job-9"
    world.account.add_job("job-4", createdAt="2001-01-01T00:00:00Z")
    assert (await world.service.handle_oldest(account="acme"))[0] == "job-4"


async def test_a_pending_job_that_only_plexus_knows_is_stranded_after_a_while(world):
    world.account.add_job()
    jobs = world.stores.jobs
    assert await jobs.list_stranded(pending_older_than=300, account="acme") == ()
    world.clock.advance(301)
    found = await jobs.list_stranded(pending_older_than=300, account="acme")
    assert [job.id for job in found] == ["job-1"]


async def test_a_job_that_comes_to_us_is_shown_in_plexus(world):
    await world.stores.jobs.create(
        NewJob(
            id="ours", scorecard="call-quality", score="Greeting", account="acme",
            item=Item(id="call-7", text="hello", metadata={"a": 1}),
        )
    )  # fmt: skip
    job = world.job("ours")
    assert (job["scorecardId"], job["scoreId"]) == ("acme-card", "acme-greeting")
    item = world.server.get("Item", job["itemId"])
    assert (item["text"], item["externalId"], item["metadata"]) == ("hello", "call-7", '{"a":1}')
    assert await world.handle("ours") == Ack()
    result = world.server.get("ScoreResult", result_id_of(key("ours", "acme")))
    assert (result["itemId"], result["scoreVersionId"]) == (job["itemId"], "acme-greeting-v1")


async def test_a_finished_result_is_reused_when_asked_but_not_an_error(world):
    object.__setattr__(world.service._policy, "reuse_results", True)
    world.account.add_job("job-1")
    world.account.add_job("job-2")
    await world.handle("job-1")
    await world.handle("job-2")
    assert world.responder.sent[1].body()["reused"] is True
    second = world.server.get("ScoreResult", result_id_of(key("job-2", "acme")))
    assert json.loads(second["metadata"])["reused_from"] == RESULT
    assert second["scoreVersionId"] == "acme-greeting-v1"


async def test_the_cached_versions_outlive_the_process(world, tmp_path):
    world.account.add_job()
    await world.handle()
    world.server.forget()
    again = connect(world.server, tmp_path, world.clock, cache_directory=tmp_path / "cache")
    await again.catalog.scorecard("97", account="acme")
    assert world.server.operations == ["Scorecard"]
    await again.aclose()


@pytest.mark.parametrize("reference", ["acme-card", "call-quality", "97", "Call quality"])
async def test_a_scorecard_has_four_names(world, reference):
    found = await world.stores.catalog.scorecard(reference, account="acme")
    assert (found.id, found.account_id) == ("acme-card", "acme")
    assert [(ref.id, ref.key, ref.external_id, ref.version) for ref in found.scores] == [
        ("acme-greeting", "greeting", "42", "acme-greeting-v1")
    ]


async def test_a_partial_answer_is_not_taken_for_nothing(world):
    world.account.add_job()
    world.server.tables.broken.add(("Item", "item-1"))
    assert isinstance(await world.handle(), Retry)
    world.server.tables.broken.clear()
    world.server.tables.broken.add(("ScoringJob", "job-1"))
    with pytest.raises(StoreUnavailable):
        await world.stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
