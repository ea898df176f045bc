"""What Plexus's API may refuse, lack or garble, and what becomes of the job."""

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Retry
from plexus_scoring.model.errors import (
    ConfigurationError,
    NotFound,
    ScorecardError,
    StoreUnavailable,
)
from plexus_scoring.model.result import result_id_of
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account, connect
from tests.support.stores import key, result_of


async def test_a_refused_key_is_the_deployments_fault(world, tmp_path):
    world.account.add_job()
    stores = connect(world.server, tmp_path, world.clock, key="wrong")
    with pytest.raises(ConfigurationError, match="PLEXUS_API_KEY"):
        await stores.jobs.check()
    with pytest.raises(StoreUnavailable, match="PLEXUS_API_KEY"):
        await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    await stores.aclose()
    assert world.job()["status"] == "PENDING"


async def test_an_unknown_account_is_the_deployments_fault(world, tmp_path):
    stores = connect(world.server, tmp_path, world.clock, account="nobody")
    with pytest.raises(ConfigurationError, match=r"'nobody'.*PLEXUS_ACCOUNT_KEY"):
        await stores.jobs.check()
    with pytest.raises(StoreUnavailable, match="PLEXUS_ACCOUNT_KEY"):
        await stores.jobs.claim_oldest(account="nobody", lease_seconds=60)
    await stores.aclose()


async def test_what_is_there_and_works_passes_the_check(world):
    await world.stores.jobs.check()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/graphql", "not a url", "ftp://x"])
async def test_an_address_that_does_not_answer(world, tmp_path, url):
    stores = connect(world.server, tmp_path, world.clock, url=url)
    with pytest.raises((StoreUnavailable, ConfigurationError)):
        await stores.jobs.check()
    await stores.aclose()


@pytest.mark.parametrize("body", [b"<html>proxy</html>", [], "text", {"data": None}, {}])
async def test_what_is_no_graphql_answer(world, body):
    world.account.add_job()
    world.server.fail(200, body)
    with pytest.raises(StoreUnavailable):
        await world.stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    assert await world.handle() == Ack()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_faults_that_pass_are_tried_again(world, status):
    world.account.add_job()
    world.server.fail(status, times=3)
    assert await world.handle() == Ack()
    assert world.server.counted()["Job"] == 4


@pytest.mark.parametrize("status", [400, 404, 413])
async def test_faults_that_stay_are_not(world, status):
    world.account.add_job()
    world.server.fail(status, b"no", times=9)
    assert isinstance(await world.handle(), Retry)
    assert world.server.counted()["Job"] == 1


async def test_throttling_inside_a_200_is_tried_again(world):
    world.account.add_job()
    error = {"message": "slow down", "errorType": "DynamoDB:ProvisionedThroughputExceededException"}
    world.server.fail(
        200, {"data": None, "errors": [{**error, "path": ["getScoringJob"]}]}, times=2
    )
    assert await world.handle() == Ack()


async def test_a_long_retry_after_is_the_messages_to_wait(world):
    world.account.add_job()
    world.server.fail(429, times=9, retry_after="120")
    with pytest.raises(StoreUnavailable) as caught:
        await world.stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    assert caught.value.retry_after == 120
    assert world.server.counted()["Job"] == 1


async def test_a_connection_that_breaks_is_made_anew(world):
    world.account.add_job()
    world.server.fail(0)
    assert await world.handle() == Ack()


async def test_a_score_without_champion_version(world):
    score = world.account.add_score("New", None)
    world.account.add_job(scoreId=score)
    assert isinstance(await world.handle(), DeadLetter)
    assert "no champion version" in world.job()["errorMessage"]


async def test_a_score_whose_yaml_does_not_parse(world):
    score = world.account.add_score("Torn", "name: Torn\nclass: [LangGraphScore\n")
    world.account.add_job(scoreId=score)
    assert isinstance(await world.handle(), DeadLetter)
    message = world.job()["errorMessage"]
    assert "cannot be read" in message
    assert "acme-torn-v1" in message


async def test_one_bad_score_does_not_end_the_others(world):
    world.account.add_score("Torn", "- [")
    world.account.add_score("New", None)
    world.account.add_score("Gone", "x: 1", championVersionId="deleted")
    world.account.add_job()
    assert await world.handle() == Ack()


async def test_a_scorecard_without_scores(world, server):
    server.put("Scorecard", id="empty", name="Empty", key="empty", accountId=world.account.id)
    with pytest.raises(ScorecardError, match="no scores"):
        await world.stores.catalog.scorecard("empty", account="acme")


async def test_a_scorecard_of_another_account(world, server):
    Account(server, "other")
    with pytest.raises(NotFound):
        await world.stores.catalog.scorecard("other-card", account="acme")
    assert (await world.stores.catalog.scorecard("call-quality", account="acme")).id == "acme-card"


async def test_more_scores_than_amplify_gives_by_itself(world):
    for number in range(130):
        world.account.add_score(f"Extra{number}", f"name: Extra{number}\nclass: X\n")
    card = await world.stores.catalog.scorecard("97", account="acme")
    assert len(card.scores) == 131


async def test_an_item_that_is_gone(world):
    world.account.add_job()
    world.server.tables.records["Item"].clear()
    assert isinstance(await world.handle(), DeadLetter)
    assert "does not exist" in world.job()["errorMessage"]


@pytest.mark.parametrize("metadata", ["not json", "[1]", '"null"', "null", '"{\\"a\\": 1}"'])
async def test_odd_metadata_does_not_end_a_job(world, metadata):
    world.account.add_job()
    world.server.put("Item", **{**world.server.get("Item", "item-1"), "metadata": metadata})
    assert await world.handle() == Ack()


async def test_an_item_with_files_and_no_text(world):
    item = {"id": "files", "accountId": world.account.id, "isEvaluation": False,
            "attachedFiles": ["a/b.json"]}  # fmt: skip
    world.server.put("Item", **item)
    found = await world.stores.catalog.item("files", account="acme")
    assert (found.text, found.attached_files) == ("", ("a/b.json",))


async def test_a_job_record_that_was_deleted_while_we_scored(world):
    world.account.add_job()
    world.server.before["Publish"] = lambda _: world.server.tables.records["ScoringJob"].clear()
    assert await world.handle() == Ack()
    assert world.server.get("ScoreResult", result_id_of(key("job-1", "acme")))["value"] == "Yes"


@pytest.mark.parametrize(
    "absent",
    [
        {("ScoringJob", "metadata"), ("Item", "attachedFiles"), ("Score", "isDisabled")},
        {("ScoreResult", "confidence"), ("ScoreResult", "scoreVersionId")},
        {("ScoreResult", "cost"), ("Scorecard", "externalId"), ("ScoringJob", "errorMessage")},
    ],
)
async def test_a_schema_without_a_field_is_lived_with(clock, tmp_path, absent):
    with GraphQLServer(now=clock.now, absent=frozenset(absent)) as server:
        Account(server).add_job()
        stores = connect(server, tmp_path, clock)
        for _ in range(2):
            claimed = await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
            await stores.jobs.release(claimed.lease, delay=0, counted=False)
        assert (await stores.catalog.scorecard("call-quality", account="acme")).id == "acme-card"
        claimed = await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
        await stores.jobs.complete(claimed.lease, result_of(claimed.job, score="acme-greeting"))
        stored = server.get("ScoreResult", result_id_of(key("job-1", "acme")))
        assert stored["value"] == "Yes"
        assert not {field for kind, field in absent if kind == "ScoreResult"} & set(stored)
        assert server.get("ScoringJob", "job-1")["status"] == "COMPLETED"
        await stores.aclose()


async def test_an_answer_with_more_than_was_asked_for_is_read(world):
    world.account.add_job()
    job = {
        **world.job(), "priority": {"level": 9}, "status": "QUEUED",
        "item": {**world.server.get("Item", "item-1"), "language": ["en"], "createdBy": None},
        "account": {"id": world.account.id, "key": "acme", "tier": "gold"},
    }  # fmt: skip
    body = {"data": {"getScoringJob": job, "more": 1}, "extensions": {"cost": 3}}
    world.server.fail(200, body)
    assert await world.handle() == Ack()
    assert world.job()["status"] == "COMPLETED"


async def test_a_schema_without_what_is_needed_is_said(clock, tmp_path):
    with GraphQLServer(now=clock.now, absent=frozenset({("ScoringJob", "itemId")})) as server:
        stores = connect(server, tmp_path, clock)
        with pytest.raises(StoreUnavailable, match="another schema"):
            await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
        await stores.aclose()


async def test_introspection_is_off_and_not_needed(world):
    world.account.add_job()
    await world.handle()
    assert all("__schema" not in request["query"] for request in world.server.requests)


async def test_a_missing_bucket_gives_the_job_back(world, monkeypatch):
    async def missing(*_, **__):
        raise StoreUnavailable("s3://gone/…: NoSuchBucket")

    world.account.add_job()
    monkeypatch.setattr(world.stores.attachments._attachments, "put", missing)
    assert isinstance(await world.handle(), Retry)
    assert world.job()["status"] == "PENDING"
    assert (await world.leases.get(key("job-1", "acme"))).attempt == 0
