"""The crash table of docs/state-machine.md, row by row: the process dies, the message comes again."""

from __future__ import annotations

import pytest

from plexus_scoring.model.disposition import Ack, Retry
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.messages import ScoringRequest
from plexus_scoring.model.result import result_id_of
from tests.support.service import Bench, Crash
from tests.support.stores import key

REQUEST = ScoringRequest(scoring_job_id="job-1", request_id="request-1")

# step, port, method, when, engine calls in all, responses in all
CRASHES = [
    ("before the claim", "jobs", "claim", "before", 1, 1),
    ("after 1, claim", "jobs", "claim", "after", 1, 1),
    ("before the item", "catalog", "item", "before", 1, 1),
    ("after 2, item", "catalog", "item", "after", 1, 1),
    ("after 2, scorecard", "catalog", "scorecard", "after", 1, 1),
    ("after 3, reuse", "jobs", "find_result", "after", 1, 1),
    ("before the engine", "engine", "score", "before", 1, 1),
    ("after 4, engine", "engine", "score", "after", 2, 1),
    ("before the attachments", "attachments", "put", "before", 2, 1),
    ("after 5, attachments", "attachments", "put", "after", 2, 1),
    ("before the commit", "jobs", "complete", "before", 2, 1),
    ("after 6, commit", "jobs", "complete", "after", 1, 1),
    ("before the response", "responder", "respond", "before", 1, 1),
    ("after 7, response", "responder", "respond", "after", 1, 2),
]


@pytest.mark.parametrize(
    ("port", "method", "when", "scored", "responses"),
    [row[1:] for row in CRASHES],
    ids=[row[0] for row in CRASHES],
)
async def test_nothing_is_lost_and_nothing_is_doubled(port, method, when, scored, responses):
    bench = Bench()
    bench.service._policy = type(bench.policy)(lease_seconds=60, reuse_results=True)
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    bench.fail(port, method, when, Crash())

    with pytest.raises(Crash):
        await bench.service.handle(REQUEST)

    again = await bench.service.handle(REQUEST)
    if isinstance(again, Retry):  # the dead process's lease still stands
        bench.clock.time += again.after + 0.001
        again = await bench.service.handle(REQUEST)

    assert isinstance(again, Ack)
    job = await bench.store.get(key("job-1"))
    assert job is not None
    assert job.status is JobStatus.COMPLETED
    assert job.result_id == result_id_of(key("job-1"))
    assert len(bench.engine.contexts) == scored
    sent = bench.responder.sent
    assert len(sent) == responses
    assert all(response == sent[0] for response in sent)
    assert sent[0].score_result_id == job.result_id
    assert set(bench.attachments.objects) == {
        f"scoreresults/{job.result_id}/trace.json",
        f"scoreresults/{job.result_id}/log.txt",
    }


async def test_a_job_whose_workers_all_die_ends_failed_and_dead_lettered():
    bench = Bench()
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    for _ in range(bench.policy.max_attempts):
        bench.fail("engine", "score", "before", Crash())
        with pytest.raises(Crash):
            await bench.service.handle(REQUEST)
        bench.clock.time += bench.policy.lease_seconds + 1

    disposition = await bench.service.handle(REQUEST)

    assert disposition.reason.code == "attempts_exhausted"
    assert "3 attempts" in disposition.reason.message
    job = await bench.store.get(key("job-1"))
    assert job is not None
    assert job.status is JobStatus.FAILED
    assert [response.status for response in bench.responder.sent] == ["error"]


async def test_a_crash_between_failing_and_dead_lettering_dead_letters_on_redelivery():
    bench = Bench()
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    bench.engine.script = [ScorecardError("unknown class Foo", file="card.yaml", line=3, column=5)]
    bench.fail("jobs", "fail", "after", Crash())
    with pytest.raises(Crash):
        await bench.service.handle(REQUEST)

    disposition = await bench.service.handle(REQUEST)

    assert disposition.reason.code == "scorecard_error"
    assert disposition.reason.message.startswith("card.yaml:3:5:")
    assert bench.responder.sent[0].error == disposition.reason
