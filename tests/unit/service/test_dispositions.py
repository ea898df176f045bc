"""What becomes of a message, for every way in which a job can go."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Retry
from plexus_scoring.model.errors import (
    AccountRefused,
    BudgetExceeded,
    ConfigurationError,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    InvalidRequest,
    LeaseLost,
    NotFound,
    ProviderBusy,
    ProviderDown,
    ScorecardError,
    ScoreDisabled,
    ScoreFailed,
    StoreUnavailable,
)
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import Claimed, JobStatus, NewJob
from plexus_scoring.model.messages import ScoringRequest, parse_request
from plexus_scoring.model.result import ScoreOutcome, result_id_of
from plexus_scoring.service import Policy
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.logs import JobLogHandler, JsonFormatter, keep_trace
from tests.support.service import Bench
from tests.support.stores import key

REQUEST = ScoringRequest(scoring_job_id="job-1", request_id="request-1")


@pytest.fixture
async def bench():
    bench = Bench()
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    return bench


async def job_of(bench, job_id="job-1"):
    job = await bench.store.get(key(job_id))
    assert job is not None
    return job


def kept(bench):
    place = f"scoreresults/{result_id_of(key('job-1'))}"
    return {
        name.removeprefix(place): body.decode() for name, body in bench.attachments.objects.items()
    }


async def test_every_failed_attempt_leaves_its_log_and_the_trace_so_far(bench):
    async def judge(context):
        logging.getLogger("plexus_scoring.judge").warning("asked in attempt %d", context.attempt)
        keep_trace([{"node_name": f"attempt {context.attempt}"}])
        raise EngineUnavailable("no model")

    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [JobLogHandler()]
    try:
        bench.engine.script = [judge, judge]
        for _ in range(2):
            assert isinstance(await bench.service.handle(REQUEST), Retry)
            bench.clock.time += 10_000
        assert await bench.service.handle(REQUEST) == Ack()
    finally:
        root.handlers = handlers
    files = kept(bench)
    for number in (1, 2):
        assert f"asked in attempt {number}" in files[f"/attempts/{number}/log.txt"]
        assert "no model" in files[f"/attempts/{number}/log.txt"]
        assert json.loads(files[f"/attempts/{number}/trace.json"]) == {
            "node_results": [{"node_name": f"attempt {number}"}]
        }
    assert {"/log.txt", "/trace.json"} < set(files)
    assert "/attempts/3/log.txt" not in files


async def test_a_log_that_cannot_be_stored_changes_nothing(bench):
    async def put(*_, **__):
        raise StoreUnavailable("no bucket")

    bench.attachments.put = put
    bench.engine.script = [ScoreFailed("no value")]
    assert isinstance(await bench.service.handle(REQUEST), DeadLetter)
    assert (await job_of(bench)).last_error.message == "no value"


async def test_a_job_is_scored_stored_and_answered(bench):
    assert await bench.service.handle(REQUEST) == Ack()

    result = await bench.store.result(result_id_of(key("job-1")))
    assert result.value == "Yes"
    assert result.attempt == 1
    assert result.score_version
    body = bench.responder.sent[0].body()
    assert body["request_id"] == "request-1"
    assert body["status"] == "success"
    assert body["value"] == "Yes"
    assert body["attachments"] == {
        "trace": f"scoreresults/{result.id}/trace.json",
        "log": f"scoreresults/{result.id}/log.txt",
    }
    assert bench.metrics.counters[names.JOBS, names.OUTCOME_COMPLETED] == 1


async def test_a_second_delivery_gets_the_same_answer_without_scoring(bench):
    await bench.service.handle(REQUEST)
    assert await bench.service.handle(REQUEST) == Ack()
    assert len(bench.engine.contexts) == 1
    assert bench.responder.sent[0] == bench.responder.sent[1]


@pytest.mark.parametrize(
    "error", [ScoreFailed("line 3: ValueError: CANARY"), KeyError("CANARY")], ids=["score", "bug"]
)
async def test_what_may_quote_the_item_is_kept_with_the_job_and_not_logged(bench, caplog, error):
    caplog.set_level(logging.INFO)
    bench.engine.script = [error] * 5
    for _ in range(5):
        await bench.service.handle(REQUEST)
        bench.clock.time += 600
    assert "CANARY" in (await job_of(bench)).last_error.message
    formatter = JsonFormatter()
    lines = [formatter.format(record) for record in caplog.records]
    assert not [line for line in lines if "CANARY" in line]
    assert any("failed" in line for line in lines)
    if isinstance(error, KeyError):
        stacks = [record.stack for record in caplog.records if hasattr(record, "stack")]
        assert all("in _score" in "".join(stack) for stack in stacks)
        assert stacks


async def test_an_unknown_job_is_dead_lettered_and_its_caller_told(bench):
    request = ScoringRequest(scoring_job_id="nobody", request_id="r")
    disposition = await bench.service.handle(request)
    assert isinstance(disposition, DeadLetter)
    assert disposition.reason.code == "not_found"
    assert "nobody" in disposition.reason.message
    assert bench.responder.sent[0].error == disposition.reason


async def test_a_held_job_comes_back_when_its_lease_ends_and_costs_no_attempt(bench):
    await bench.store.claim(key("job-1"), lease_seconds=40)
    disposition = await bench.service.handle(REQUEST)
    assert disposition == Retry(pytest.approx(40), counted=False)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no text"),
        NotFound("no such score"),
        ScorecardError("unknown class"),
        ScoreFailed("model refused"),
        BudgetExceeded("1 USD spent"),
    ],
    ids=lambda error: error.code,
)
async def test_what_cannot_work_fails_at_once_and_is_dead_lettered(bench, error):
    bench.engine.script = [error]
    disposition = await bench.service.handle(REQUEST)
    assert disposition == DeadLetter(error.info())
    job = await job_of(bench)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert job.last_error == error.info()
    assert [response.error for response in bench.responder.sent] == [error.info()]


@pytest.mark.parametrize("error", [DependencyUnmet("unmet"), ScoreDisabled("disabled")])
async def test_what_is_nobodys_fault_ends_without_a_dead_letter(bench, error):
    bench.engine.script = [error]
    assert await bench.service.handle(REQUEST) == Ack()
    assert (await job_of(bench)).status is JobStatus.FAILED
    assert bench.responder.sent[0].body()["error"]["code"] == error.code
    # and a second delivery says the same
    assert await bench.service.handle(REQUEST) == Ack()


async def test_what_may_pass_is_tried_again_then_fails(bench):
    for attempt in (1, 2):
        bench.engine.script = [EngineUnavailable("503", retry_after=7)]
        disposition = await bench.service.handle(REQUEST)
        assert isinstance(disposition, Retry)
        assert disposition.counted
        assert disposition.after >= 7
        job = await job_of(bench)
        assert (job.status, job.attempt) == (JobStatus.PENDING, attempt)
        assert job.last_error.code == "engine_unavailable"
        assert job.not_before == pytest.approx(bench.clock.now() + disposition.after)
        early = await bench.service.handle(REQUEST)
        assert early == Retry(pytest.approx(disposition.after), counted=False)
        bench.clock.time += disposition.after
    bench.engine.script = [EngineUnavailable("503")]
    disposition = await bench.service.handle(REQUEST)
    assert isinstance(disposition, DeadLetter)
    assert disposition.reason.message == "after 3 attempts: 503"
    assert (await job_of(bench)).status is JobStatus.FAILED
    assert [response.status for response in bench.responder.sent] == ["error"]


@pytest.mark.parametrize(
    "error",
    [
        AccountRefused("402: no credit"),
        ProviderBusy("429", retry_after=7),
        ConfigurationError("ANTHROPIC_API_KEY is not set"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_no_fault_of_the_jobs_costs_no_attempt(bench, error, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(12):  # more than a job has attempts
        bench.engine.script = [error]
        disposition = await bench.service.handle(REQUEST)
        assert isinstance(disposition, Retry)
        assert not disposition.counted
        job = await job_of(bench)
        assert (job.status, job.attempt) == (JobStatus.PENDING, 0)
        assert job.last_error == error.info()
        bench.clock.time += disposition.after
    assert bench.responder.sent == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert await bench.service.handle(REQUEST) == Ack()


async def test_a_refused_account_is_not_asked_by_each_job_every_second(bench):
    bench.engine.script = [AccountRefused("402")]
    assert (await bench.service.handle(REQUEST)).after >= 15


async def test_a_provider_that_is_down_is_asked_for_six_hours_then_the_job_fails(bench):
    began, delays = bench.clock.now(), []
    while True:
        bench.engine.script = [ProviderDown("503")]
        disposition = await bench.service.handle(REQUEST)
        if not isinstance(disposition, Retry):
            break
        assert not disposition.counted
        job = await job_of(bench)
        assert (job.status, job.attempt, job.last_error.since) == (JobStatus.PENDING, 0, began)
        delays.append(disposition.after)
        bench.clock.time += disposition.after
    assert 6 * 3600 <= bench.clock.now() - began <= 6 * 3600 + bench.policy.retry_max
    assert delays[0] <= bench.policy.retry_base
    assert all(after <= bench.policy.retry_max for after in delays)
    assert len(delays) < 100  # what SQS counts as receives
    assert isinstance(disposition, DeadLetter)
    assert re.fullmatch(r"for 6\.[01] h: 503", disposition.reason.message)
    assert (await job_of(bench)).status is JobStatus.FAILED


async def test_another_failure_ends_the_time_for_which_a_provider_was_down(bench):
    for error in (ProviderDown("503"), EngineUnavailable("no JSON"), ProviderDown("503")):
        bench.engine.script = [error]
        after = (await bench.service.handle(REQUEST)).after
        began = bench.clock.now()
        bench.clock.time += after
    job = await job_of(bench)
    assert (job.last_error.since, job.last_error.failures, job.attempt) == (began, 1, 1)


async def test_a_message_that_names_no_request_is_answered_under_its_jobs(bench):
    await bench.store.create(
        NewJob(id="job-2", request_id="asked", scorecard="card", score="Greeting", item_id="item-1")
    )
    await bench.service.handle(parse_request('{"scoring_job_id": "job-2"}'))
    assert [response.request_id for response in bench.responder.sent] == ["asked"]


async def test_an_undetermined_value_says_why_to_its_caller(bench):
    async def cut(_context):
        return ScoreOutcome(value="Yes", undetermined=True, undetermined_reason="n: cut (length)")

    bench.engine.script = [cut]
    await bench.service.handle(REQUEST)
    body = bench.responder.sent[0].body()
    assert (body["undetermined"], body["undetermined_reason"]) == (True, "n: cut (length)")
    stored = await bench.store.result(result_id_of(key("job-1")))
    assert stored.undetermined_reason == "n: cut (length)"


async def test_an_unforeseen_error_keeps_its_class_and_is_tried_again(bench):
    bench.engine.script = [KeyError("secret")]
    assert isinstance(await bench.service.handle(REQUEST), Retry)
    job = await job_of(bench)
    assert job.last_error.type == "builtins.KeyError"
    assert job.last_error.code == "unexpected_error"


@pytest.mark.parametrize(
    ("port", "method"),
    [("jobs", "claim"), ("catalog", "item"), ("attachments", "put"), ("jobs", "complete")],
)
async def test_a_store_that_is_away_costs_no_attempt(bench, port, method):
    bench.fail(port, method, "before", StoreUnavailable("throttled"))
    disposition = await bench.service.handle(REQUEST)
    assert isinstance(disposition, Retry)
    assert not disposition.counted
    job = await job_of(bench)
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)


async def test_a_response_that_cannot_be_sent_is_sent_on_redelivery_without_scoring_again(bench):
    bench.fail("responder", "respond", "before", StoreUnavailable("queue away"))
    assert isinstance(await bench.service.handle(REQUEST), Retry)
    assert (await job_of(bench)).status is JobStatus.COMPLETED
    assert await bench.service.handle(REQUEST) == Ack()
    assert len(bench.engine.contexts) == 1
    assert len(bench.responder.sent) == 1


async def test_a_jobs_seconds_are_those_until_its_response(bench, monkeypatch):
    async def slow(_response):
        bench.clock.time += 5

    monkeypatch.setattr(bench.responder, "respond", slow)
    assert await bench.service.handle(REQUEST) == Ack()
    assert bench.metrics.values[names.JOB_SECONDS] == [5]


async def test_a_stop_stays_a_stop_though_the_job_cannot_be_given_back(bench):
    scoring = asyncio.Event()

    async def for_ever(_context):
        scoring.set()
        await asyncio.Event().wait()

    bench.engine.script = [for_ever]
    bench.fail("jobs", "release", "before", RuntimeError("unforeseen"))
    work = asyncio.create_task(bench.service.handle(REQUEST))
    await scoring.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_a_commit_whose_answer_is_lost_is_found_done(bench):
    bench.fail("jobs", "complete", "after", StoreUnavailable("connection reset"))
    assert isinstance(await bench.service.handle(REQUEST), Retry)
    assert await bench.service.handle(REQUEST) == Ack()
    assert len(bench.engine.contexts) == 1


async def test_a_deadline_overrun_counts_as_an_attempt(bench):
    async def endless(context):
        await asyncio.Event().wait()

    bench.engine.script = [endless]
    disposition = await bench.service.handle(REQUEST, bench.clock.now() + 0.01)
    assert isinstance(disposition, Retry)
    assert disposition.counted
    job = await job_of(bench)
    assert (job.status, job.attempt) == (JobStatus.PENDING, 1)
    assert job.last_error.code == DeadlineExceeded.code


async def test_no_time_left_touches_nothing(bench):
    assert await bench.service.handle(REQUEST, bench.clock.now()) == Retry(0.0, counted=False)
    assert bench.ports["jobs"].calls["claim"] == 0


async def test_a_stop_gives_the_job_back_without_costing_an_attempt(bench):
    reached = asyncio.Event()

    async def endless(context):
        reached.set()
        await asyncio.Event().wait()

    bench.engine.script = [endless]
    task = asyncio.create_task(bench.service.handle(REQUEST))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = await job_of(bench)
    assert (job.status, job.attempt) == (JobStatus.PENDING, 0)
    assert job.not_before <= bench.clock.now()


async def test_a_lost_lease_ends_the_work_and_changes_nothing():
    bench = Bench(policy=Policy(lease_seconds=0.03))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    takers = []

    async def outlast_the_lease(context):
        bench.clock.time += 1
        takers.append(await bench.store.claim(key("job-1"), lease_seconds=60))
        await asyncio.Event().wait()  # ended by the renewal that finds the lease gone

    bench.engine.script = [outlast_the_lease]
    disposition = await bench.service.handle(REQUEST)
    assert isinstance(disposition, Retry)
    assert not disposition.counted
    assert isinstance(takers[0], Claimed)
    job = await job_of(bench)
    assert (job.status, job.lease_token) == (JobStatus.IN_PROGRESS, takers[0].lease.token)
    assert bench.responder.sent == []
    assert bench.metrics.counters[names.LEASES_LOST,] == 1


async def test_a_renewal_that_meets_its_own_jobs_end_is_no_lost_lease():
    bench = Bench(policy=Policy(lease_seconds=0.03))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    renew, complete, refused = bench.store.renew, bench.store.complete, asyncio.Event()

    async def renewing(lease, **options):
        try:
            return await renew(lease, **options)
        except LeaseLost:
            refused.set()
            raise

    async def completing(lease, result):
        await complete(lease, result)
        await refused.wait()
        for _ in range(5):  # turns in which a loss would end the block
            await asyncio.sleep(0)

    bench.store.renew, bench.store.complete = renewing, completing
    assert await bench.service.handle(REQUEST) == Ack()
    assert len(bench.responder.sent) == 1
    assert (names.LEASES_LOST,) not in bench.metrics.counters


async def test_a_late_completion_is_refused_by_the_fence(bench):
    async def outlast_the_lease(context):
        bench.clock.time += bench.policy.lease_seconds + 1
        await bench.store.claim(key("job-1"), lease_seconds=60)
        return ScoreOutcome(value="late")

    bench.engine.script = [outlast_the_lease]
    assert isinstance(await bench.service.handle(REQUEST), Retry)
    assert await bench.store.result(result_id_of(key("job-1"))) is None
    assert bench.responder.sent == []


@pytest.mark.parametrize("fault", [StoreUnavailable("throttled"), RuntimeError("unforeseen")])
async def test_the_lease_is_renewed_while_the_engine_runs(fault):
    bench = Bench(policy=Policy(lease_seconds=0.03))
    await bench.fill()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )

    async def until_renewed_twice(context):
        while bench.ports["jobs"].calls["renew"] < 2:
            await asyncio.sleep(0)
        return ScoreOutcome(value="Yes")

    bench.engine.script = [until_renewed_twice]
    bench.fail("jobs", "renew", "before", fault)
    assert await bench.service.handle(REQUEST) == Ack()


async def test_an_inline_job_is_created_claimed_and_scored_once(bench):
    body = {
        "request_id": "inline-1",
        "scorecard": "card",
        "score": "Greeting",
        "item": {"text": "Hi"},
    }
    request = parse_request(body)
    assert await bench.service.handle(request) == Ack()
    assert await bench.service.handle(request) == Ack()
    assert [context.item.text for context in bench.engine.contexts] == ["Hi"]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (None, "not_found", "no object s3://bucket/key"),
        (b"\xff\xfe\x00", "invalid_request", "not UTF-8"),
        (b"x" * 11, "invalid_request", "PLEXUS_MAX_ITEM_BYTES=10"),
    ],
)
async def test_an_item_text_that_cannot_be_read_is_named(body, code, says):
    bench = Bench(policy=Policy(max_item_bytes=10))
    ref = ObjectRef("bucket", "key")
    await bench.fill(Item(id="item-1", s3=ref))
    if body is not None:
        bench.attachments.foreign[ref] = body
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    disposition = await bench.service.handle(REQUEST)
    assert disposition.reason.code == code
    assert says in disposition.reason.message


async def test_an_item_in_s3_is_read_before_it_is_scored():
    bench = Bench()
    ref = ObjectRef("bucket", "key")
    await bench.fill(Item(id="item-1", s3=ref))
    bench.attachments.foreign[ref] = "\ufeffGrüße".encode()
    await bench.store.create(
        NewJob(id="job-1", scorecard="card", score="Greeting", item_id="item-1")
    )
    assert await bench.service.handle(REQUEST) == Ack()
    assert bench.engine.contexts[0].item.text == "Grüße"


async def test_an_item_without_text_and_a_job_without_item_are_refused(bench):
    await bench.items.put_item(Item(id="empty"))
    await bench.store.create(NewJob(id="a", scorecard="card", score="Greeting", item_id="empty"))
    await bench.store.create(NewJob(id="b", scorecard="card", score="Greeting"))
    for job_id, says in (("a", "item empty has no text"), ("b", "job b names no item")):
        disposition = await bench.service.handle(
            ScoringRequest(scoring_job_id=job_id, request_id=job_id)
        )
        assert disposition.reason.message == says


async def test_results_are_reused_where_that_is_on():
    bench = Bench(policy=Policy(reuse_results=True))
    await bench.fill()
    for job_id in ("a", "b"):
        await bench.store.create(
            NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item-1")
        )
        await bench.service.handle(ScoringRequest(scoring_job_id=job_id, request_id=job_id))
    assert len(bench.engine.contexts) == 1
    first, second = (response.body() for response in bench.responder.sent)
    assert second["reused"] is True
    assert "reused" not in first
    assert second["value"] == first["value"]
    assert second["score_result_id"] == result_id_of(key("b"))


async def test_another_accounts_results_are_not_reused():
    bench = Bench(policy=Policy(reuse_results=True))
    await bench.fill()
    for job_id in ("a", "b"):
        await bench.store.create(
            NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item-1", account=job_id)
        )
        request = ScoringRequest(scoring_job_id=job_id, request_id=job_id, account=job_id)
        await bench.service.handle(request)
    assert len(bench.engine.contexts) == 2


async def test_each_jobs_log_holds_its_own_lines_only(bench):
    gate = asyncio.Event()

    async def speak(context):
        logging.getLogger("plexus_scoring.test").info("before %s", context.job.id)
        await gate.wait()
        logging.getLogger("plexus_scoring.test").info("after %s", context.job.id)
        return ScoreOutcome(value="Yes")

    ids = [f"many-{number}" for number in range(20)]
    bench.engine.script = [speak for _ in ids]
    for job_id in ids:
        await bench.store.create(
            NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item-1")
        )
    tasks = [
        asyncio.create_task(
            bench.service.handle(ScoringRequest(scoring_job_id=job_id, request_id=job_id))
        )
        for job_id in ids
    ]
    while len(bench.engine.contexts) < len(ids):
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    for job_id in ids:
        log = bench.attachments.objects[
            f"scoreresults/{result_id_of(key(job_id))}/log.txt"
        ].decode()
        spoken = [line.split(": ", 1)[1] for line in log.splitlines() if ".test:" in line]
        assert spoken == [f"before {job_id}", f"after {job_id}"]


async def test_no_item_text_or_metadata_is_logged(bench, caplog):
    text, secret = "the customer's own words", "metadata value"
    await bench.items.put_item(Item(id="item-1", text=text, metadata={"k": secret}))
    await bench.service.handle(REQUEST)
    assert caplog.records
    for record in caplog.records:
        line = str(vars(record))
        assert text not in line
        assert secret not in line


async def test_the_oldest_job_is_worked_on_without_a_message(bench):
    assert await bench.service.handle_oldest(account="default") == ("job-1", Ack())
    assert await bench.service.handle_oldest(account="default") is None
