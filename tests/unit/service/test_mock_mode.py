"""PLEXUS_SCORING_MODE=mock answers any well-formed request, whatever is or is not there."""

from __future__ import annotations

import pytest

from plexus_scoring.engines.mock import MockEngine
from plexus_scoring.model.disposition import Ack, DeadLetter, Retry
from plexus_scoring.model.errors import ScorecardError, StoreUnavailable
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.messages import parse_request
from plexus_scoring.service import Policy
from plexus_scoring.telemetry import names
from tests.support.service import Bench
from tests.support.stores import key

INLINE = {"request_id": "r1", "scorecard": "any", "score": "any"}


@pytest.fixture
def bench():
    bench = Bench(policy=Policy(lease_seconds=60, max_attempts=3, mock=True))
    bench.service._engine = MockEngine()
    return bench


@pytest.mark.parametrize(
    "body",
    [
        {"scoring_job_id": "r1"},
        {**INLINE, "item": {"text": "Hello"}},
        {**INLINE, "item": {"text": ""}},
        {**INLINE, "item": {"id": "no-such-item"}},
        {**INLINE, "item": {"s3": {"bucket": "b", "key": "no/such/object"}}},
    ],
    ids=["only a job's id", "a text", "an empty text", "an unknown item", "an unknown object"],
)
async def test_a_request_is_answered_with_nothing_in_any_store(bench, body):
    assert await bench.service.handle(parse_request(body)) == Ack()

    (response,) = bench.responder.sent
    assert response.body()["status"] == "success"
    assert response.value in {"Yes", "No"}
    job = await bench.store.get(key("r1"))
    assert job.status is JobStatus.COMPLETED
    assert (await bench.store.result(job.result_id)).metadata == {"mock": True}
    assert bench.metrics.counters[names.JOBS, names.OUTCOME_COMPLETED] == 1


async def test_what_is_there_is_used(bench):
    await bench.fill()
    await bench.store.create(
        NewJob(id="stored", scorecard="card", score="Greeting", item_id="item-1")
    )
    assert await bench.service.handle(parse_request({"scoring_job_id": "stored"})) == Ack()
    result = await bench.store.result((await bench.store.get(key("stored"))).result_id)
    assert (result.item_id, result.scorecard) == ("item-1", "card")


async def test_the_same_message_again_is_a_duplicate(bench):
    request = parse_request({"scoring_job_id": "r1"})
    await bench.service.handle(request)
    assert await bench.service.handle(request) == Ack()
    assert bench.responder.sent[0] == bench.responder.sent[1]
    assert bench.metrics.counters[names.JOBS, names.OUTCOME_DUPLICATE] == 1


async def test_a_scorecard_that_cannot_be_read_does_not_matter(bench):
    bench.fail("catalog", "scorecard", "before", ScorecardError("line 3: no such class"))
    assert await bench.service.handle(parse_request({"scoring_job_id": "r1"})) == Ack()


async def test_a_store_that_is_away_is_no_missing_item(bench):
    bench.fail("catalog", "scorecard", "before", StoreUnavailable("away"))
    assert isinstance(await bench.service.handle(parse_request({"scoring_job_id": "r1"})), Retry)


async def test_another_accounts_job_stays_unknown(bench):
    bench.service._account = "mine"
    request = parse_request({"scoring_job_id": "r1", "account": "theirs"})
    assert isinstance(await bench.service.handle(request), DeadLetter)
    assert await bench.store.get(key("r1", "theirs")) is None
