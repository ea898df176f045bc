"""The scoring function against SQS: what is answered, what comes back when, and what ends in the dead-letter queue.

SQS is moto's, at the network edge: botocore builds and parses real requests.
"""

from __future__ import annotations

import asyncio
import json
import threading

import boto3
import pytest
from moto import mock_aws

from plexus_scoring.aws import Aws
from plexus_scoring.model.errors import (
    InvalidRequest,
    ScorecardError,
    ScoreFailed,
    StoreUnavailable,
)
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.telemetry.metrics import MemoryMetrics
from plexus_scoring.transports.lambda_function import RetryLater, ScoringFunction
from plexus_scoring.transports.sqs import OutgoingMessage, SqsResponder, SqsSender
from plexus_scoring.transports.sqs_messages import SqsMessages
from tests.support.clock import HANG_SECONDS
from tests.support.service import Bench
from tests.support.stores import key


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


class Rig:
    """A function with its queues."""

    def __init__(
        self, *, fifo: bool = False, dead_letters: bool = True, queue: bool = True
    ) -> None:
        self.sqs = boto3.client("sqs")
        suffix, extra = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
        self.dead = self.sqs.create_queue(QueueName=f"dead{suffix}", Attributes=extra)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 5}
        redrive = {"RedrivePolicy": json.dumps(policy)} if dead_letters else {}
        self.requests = self.sqs.create_queue(
            QueueName=f"requests{suffix}",
            Attributes={"VisibilityTimeout": "300", **redrive, **extra},
        )["QueueUrl"]
        self.responses = self.sqs.create_queue(QueueName="responses")["QueueUrl"]
        self.aws = Aws(threads=4)
        self.bench = Bench()
        self.metrics = MemoryMetrics()
        responder = SqsResponder(SqsSender(self.aws, self.responses))
        self.bench.service._responder = responder
        url = self.requests if queue else None
        self.messages = SqsMessages(
            handle=self.bench.service.handle,
            attachments=self.bench.attachments,
            aws=self.aws,
            clock=self.bench.clock,
            metrics=self.metrics,
            request_queue_url=url,
        )
        self.function = ScoringFunction(
            messages=self.messages,
            handle_oldest=self.bench.service.handle_oldest,
            aws=self.aws,
            clock=self.bench.clock,
            request_queue_url=url,
            concurrency=4,
            margin=1.0,
        )

    async def jobs(self, *ids):
        await self.bench.fill()
        for job_id in ids:
            await self.bench.store.create(
                NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item-1")
            )

    def receive(self, *bodies, group=None):
        """Send messages and receive them, as an event source mapping would hand them on."""
        for number, body in enumerate(bodies):
            text = body if isinstance(body, str) else json.dumps(body)
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": str(number)} if group else {}
            self.sqs.send_message(QueueUrl=self.requests, MessageBody=text, **fifo)
        answer = self.sqs.receive_message(
            QueueUrl=self.requests, MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        arn = "arn:aws:sqs:us-east-1:123456789012:" + self.requests.rsplit("/", 1)[1]
        return {
            "Records": [
                {
                    "eventSource": "aws:sqs",
                    "eventSourceARN": arn,
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "messageAttributes": {},
                }
                for message in answer["Messages"]
            ]
        }

    def drain(self, url):
        found = []
        while batch := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            found += batch
            for message in batch:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def hidden(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        values = self.sqs.get_queue_attributes(QueueUrl=self.requests, AttributeNames=names)
        return tuple(int(values["Attributes"][name]) for name in names)


@pytest.fixture
def rig(aws):
    return Rig()


async def test_a_batch_of_good_and_bad_records(rig):
    await rig.jobs("good", "broken", "busy")
    await rig.bench.store.claim(key("busy"), lease_seconds=90)

    async def by_job(context):
        if context.job.id == "broken":
            raise ScorecardError("unknown class Foo", file="card.yaml", line=3, column=7)
        return ScoreOutcome(value="Yes")

    rig.bench.engine.script = [by_job, by_job]
    bodies = [{"scoring_job_id": name} for name in ("good", "broken", "busy", "nobody")]
    event = rig.receive(*bodies, "{", "[1]")

    answer = await rig.function.run(event, remaining=60)

    by_body = {record["body"]: record["messageId"] for record in event["Records"]}
    assert answer == {"batchItemFailures": [{"itemIdentifier": by_body[json.dumps(bodies[2])]}]}
    dead = {
        message["Body"]: {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
        for message in rig.drain(rig.dead)
    }
    assert {body: attributes["reason_code"] for body, attributes in dead.items()} == {
        json.dumps(bodies[1]): "scorecard_error",
        json.dumps(bodies[3]): "not_found",
        "{": "invalid_request",
        "[1]": "invalid_request",
    }
    assert dead[json.dumps(bodies[1])]["reason"] == "card.yaml:3:7: unknown class Foo"
    statuses = sorted(json.loads(m["Body"])["status"] for m in rig.drain(rig.responses))
    assert statuses == ["error", "error", "success"]


async def test_a_retry_sets_when_the_message_comes_back(rig):
    await rig.jobs("busy")
    await rig.bench.store.claim(key("busy"), lease_seconds=0.4)
    event = rig.receive({"scoring_job_id": "busy"})
    assert rig.hidden() == (0, 1)
    await rig.function.run(event, remaining=60)
    async with asyncio.timeout(HANG_SECONDS):  # less than the queue's 300 s
        while rig.hidden() != (1, 0):
            await asyncio.sleep(0.05)


async def test_every_record_of_a_large_batch_gets_an_answer_and_the_bound_holds(rig):
    ids = [f"job-{number}" for number in range(60)]
    await rig.jobs(*ids)
    running, most = 0, 0

    async def count(context):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return ScoreOutcome(value="Yes")

    rig.bench.engine.script = [count for _ in ids]
    template = rig.receive({"scoring_job_id": "x"})["Records"][0]
    records = [
        template | {"messageId": name, "body": json.dumps({"scoring_job_id": name})} for name in ids
    ]
    assert await rig.function.run({"Records": records}, remaining=60) == {"batchItemFailures": []}
    assert most == 4
    assert len(rig.drain(rig.responses)) == 60


async def test_out_of_time_unfinished_records_are_given_back(rig):
    await rig.jobs("quick", "slow", "unstarted")

    async def endless(context):
        if context.job.id == "slow":
            await asyncio.Event().wait()
        return ScoreOutcome(value="Yes")

    rig.bench.engine.script = [endless] * 3
    rig.function._concurrency = 1
    rig.function._margin = 60.0
    event = rig.receive(*({"scoring_job_id": name} for name in ("quick", "slow", "unstarted")))
    answer = await rig.function.run(event, remaining=60.2)
    names = {record["messageId"]: json.loads(record["body"]) for record in event["Records"]}
    failed = {names[f["itemIdentifier"]]["scoring_job_id"] for f in answer["batchItemFailures"]}
    assert "slow" in failed
    for name in failed:
        job = await rig.bench.store.get(key(name))
        assert job.status is JobStatus.PENDING
    assert (await rig.bench.store.get(key("slow"))).last_error.code == "deadline_exceeded"


async def test_what_does_not_end_by_its_deadline_is_cut_and_reported(rig, monkeypatch):
    await rig.jobs("a")
    rig.function._margin = 2 * HANG_SECONDS
    hanging, wait = asyncio.Event(), asyncio.wait

    async def hang(response):
        hanging.set()
        await asyncio.Event().wait()

    async def cut(tasks, *, timeout):  # noqa: ASYNC109  as asyncio.wait has it
        if timeout > HANG_SECONDS:  # the deadline's, not that of releasing
            await hanging.wait()
            timeout = 0
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr(asyncio, "wait", cut)
    rig.bench.responder.respond = hang
    rig.bench.service._responder = rig.bench.responder
    event = rig.receive({"scoring_job_id": "a"})
    answer = await rig.function.run(event, remaining=4 * HANG_SECONDS)
    assert len(answer["batchItemFailures"]) == 1
    assert (await rig.bench.store.get(key("a"))).status is JobStatus.COMPLETED


async def test_no_time_at_all_starts_nothing(rig):
    await rig.jobs("a")
    event = rig.receive({"scoring_job_id": "a"})
    answer = await rig.function.run(event, remaining=0)
    assert len(answer["batchItemFailures"]) == 1
    assert (await rig.bench.store.get(key("a"))).attempt == 0


async def test_what_was_not_begun_in_time_comes_back_at_once(rig):
    await rig.jobs("a")
    event = rig.receive({"scoring_job_id": "a"})
    rig.function._margin = 30.0
    await rig.function.run(event, remaining=30.0)
    assert rig.hidden() == (1, 0)  # not after the queue's 300 s


async def test_the_answer_is_not_late_because_moving_visibility_is(rig):
    await rig.jobs("a")
    event = rig.receive({"scoring_job_id": "a"})
    released = threading.Event()
    rig.aws.sqs.change_message_visibility_batch = lambda **_: released.wait() and {}
    rig.function._margin = 0.5
    try:
        answer = await rig.function.run(event, remaining=0.5)
    finally:
        released.set()
    assert len(answer["batchItemFailures"]) == 1


async def test_a_record_that_breaks_unforeseen_takes_no_other_along(rig):
    await rig.jobs("a", "b", "c")
    event = rig.receive(*({"scoring_job_id": name} for name in "abc"))
    work_on = rig.messages.work_on
    broken = event["Records"][0]["messageId"]

    async def work(message, deadline):
        if message.message_id == broken:
            raise RuntimeError("never seen before")
        return await work_on(message, deadline)

    rig.messages.work_on = work
    rig.function._concurrency = 1
    answer = await rig.function.run(event, remaining=60)
    assert answer == {"batchItemFailures": [{"itemIdentifier": broken}]}
    assert rig.hidden() == (0, 3)


async def test_an_inline_job_that_the_store_cannot_hold_is_dead_with_its_reason(rig):
    await rig.jobs()
    rig.bench.fail("jobs", "claim", "before", InvalidRequest("the table refuses the data"))
    rig.bench.service._jobs = rig.bench.ports["jobs"]
    answer = await rig.function.run(rig.receive({"scoring_job_id": "a"}), remaining=60)
    assert answer == {"batchItemFailures": []}
    [dead] = rig.drain(rig.dead)
    assert dead["MessageAttributes"]["reason"]["StringValue"] == "the table refuses the data"
    assert len(rig.drain(rig.responses)) == 1


async def test_fifo_stops_a_group_at_its_first_failure(aws):
    rig = Rig(fifo=True)
    await rig.jobs("a", "b", "c")
    await rig.bench.store.claim(key("b"), lease_seconds=90)
    event = rig.receive(*({"scoring_job_id": name} for name in "abc"), group="g")
    answer = await rig.function.run(event, remaining=60)
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    failed = [json.loads(bodies[f["itemIdentifier"]]) for f in answer["batchItemFailures"]]
    assert failed == [{"scoring_job_id": "b"}, {"scoring_job_id": "c"}]
    assert (await rig.bench.store.get(key("c"))).attempt == 0


async def test_without_a_dead_letter_queue_a_poison_message_stays_on_its_queue(aws):
    rig = Rig(dead_letters=False)
    event = rig.receive("{")
    answer = await rig.function.run(event, remaining=60)
    assert len(answer["batchItemFailures"]) == 1


async def test_a_dead_letter_queue_that_refuses_leaves_the_message_where_it_is(rig):
    rig.messages._dead_letter_queue_url = rig.dead + "-gone"
    answer = await rig.function.run(rig.receive("{"), remaining=60)
    assert len(answer["batchItemFailures"]) == 1


async def test_the_empty_event_works_on_one_message_and_deletes_it(rig):
    await rig.jobs("a")
    rig.sqs.send_message(QueueUrl=rig.requests, MessageBody='{"scoring_job_id": "a"}')
    answer = await rig.function.run({}, remaining=60)
    assert [row["disposition"] for row in answer["results"]] == ["Ack"]
    assert rig.hidden() == (0, 0)
    assert await rig.function.run({}, remaining=60) == {"processed": 0, "results": []}


async def test_the_empty_event_without_a_queue_claims_the_oldest_job(aws):
    rig = Rig(queue=False)
    await rig.jobs("a")
    answer = await rig.function.run({}, remaining=60)
    (row,) = answer["results"]
    (response,) = row.pop("responses")
    assert row == {"id": "a", "disposition": "Ack"}
    assert (response["scoring_job_id"], response["status"], response["value"]) == (
        "a",
        "success",
        "Yes",
    )


async def test_a_fan_out_message_is_deleted_only_when_it_is_done(rig):
    await rig.jobs("a")
    record = rig.receive({"scoring_job_id": "a"})["Records"][0]
    event = {
        "source": "fanout",
        "message_body": {"scoring_job_id": "a"},
        "receipt_handle": record["receiptHandle"],
        "queue_url": rig.requests,
    }
    rig.bench.fail("responder", "respond", "before", StoreUnavailable("away"))
    rig.bench.service._responder = rig.bench.ports["responder"]
    answer = await rig.function.run(event, remaining=60)
    assert answer["results"][0]["disposition"] == "Retry"
    assert rig.hidden() != (0, 0)


async def test_direct_work_that_must_be_repeated_goes_to_the_queue_or_back_to_its_invoker(aws):
    with_queue, without = Rig(), None
    await with_queue.jobs("a")
    await with_queue.bench.store.claim(key("a"), lease_seconds=90)
    answer = await with_queue.function.run({"scoring_job_id": "a"}, remaining=60)
    assert answer["results"][0]["disposition"] == "Retry"
    delayed = with_queue.sqs.get_queue_attributes(
        QueueUrl=with_queue.requests, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    assert delayed["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"
    without = with_queue.function
    without._request_queue_url = None
    with pytest.raises(RetryLater):
        await without.run({"scoring_job_id": "a"}, remaining=60)


async def test_an_inline_job_belongs_to_the_functions_account_however_it_came(rig):
    await rig.jobs()
    rig.function._account = rig.messages._account = "ours"
    inline = {"scorecard": "card", "score": "Greeting", "item": {"text": "hello"}}
    await rig.function.run({"request_id": "direct", **inline}, remaining=60)
    notification = {"Message": json.dumps({"request_id": "sns", **inline})}
    sns = {"Records": [{"EventSource": "aws:sns", "Sns": notification}]}
    await rig.function.run(sns, remaining=60)
    await rig.function.run(rig.receive({"request_id": "sqs", **inline}), remaining=60)
    for job_id in ("direct", "sns", "sqs"):
        assert (await rig.bench.store.get(key(job_id, "ours"))).status is JobStatus.COMPLETED


async def test_two_accounts_with_the_same_id_are_each_answered_their_own(rig):
    await rig.jobs()

    async def answer(context):
        return ScoreOutcome(value=context.item.text)

    rig.bench.engine.script = [answer] * 3
    inline = {"scorecard": "card", "score": "Greeting", "request_id": "same"}
    accounts = ("one", "two", "default")
    event = rig.receive(
        *({**inline, "account": one, "item": {"text": f"of {one}"}} for one in accounts),
        {**inline, "account": "one", "item": {"text": "other content"}},
    )
    assert await rig.function.run(event, remaining=60) == {"batchItemFailures": []}
    answers = [json.loads(message["Body"]) for message in rig.drain(rig.responses)]
    assert sorted(one["value"] for one in answers if one["status"] == "success") == sorted(
        f"of {one}" for one in accounts
    )
    [refused] = [one for one in answers if one["status"] == "error"]
    assert refused["error"]["code"] == "invalid_request"
    assert "use a new id" in refused["error"]["message"]
    [dead] = rig.drain(rig.dead)
    assert dead["MessageAttributes"]["reason_code"]["StringValue"] == "invalid_request"
    for one in accounts:
        job = await rig.bench.store.get(key("same", one))
        assert (await rig.bench.store.result(job.result_id, account=one)).value == f"of {one}"


async def test_a_functions_account_does_not_know_another_accounts_jobs(rig):
    """A queue's message, direct work and an object: each is answered as one that names no job."""
    await rig.jobs()
    rig.bench.service._account = rig.function._account = rig.messages._account = "ours"
    theirs = NewJob(id="theirs", account="other", scorecard="card", score="Greeting", item_id="i")
    await rig.bench.store.create(theirs)
    inline = {"scorecard": "card", "score": "Greeting", "item": {"text": "t"}, "account": "other"}
    object_ = {"bucket": {"name": "b"}, "object": {"key": "r.json", "sequencer": "1"}}
    rig.bench.attachments.foreign[ObjectRef("b", "r.json")] = json.dumps(
        {**inline, "request_id": "theirs"}
    ).encode()
    bodies = [
        {"scoring_job_id": "theirs", "account": "other"},
        {"scoring_job_id": "theirs"},
        {"scoring_job_id": "theirs", "account": "ours"},
        {"request_id": "theirs", **inline},
        {"source": "aws.s3", "detail": object_},
    ]
    await rig.function.run(rig.receive(*bodies), remaining=60)
    for body in (bodies[0], bodies[3], bodies[4]):
        await rig.function.run(body, remaining=60)
    answers = [json.loads(message["Body"]) for message in rig.drain(rig.responses)]
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["error"] == {
        "code": "not_found",
        "message": "no scoring job with id theirs",
    }
    reasons = [dead["MessageAttributes"] for dead in rig.drain(rig.dead)]
    assert len(reasons) == 8
    assert {
        (one["reason_code"]["StringValue"], one["reason"]["StringValue"]) for one in reasons
    } == {("not_found", "no scoring job with id theirs")}
    assert (await rig.bench.store.get(theirs.key)).status is JobStatus.PENDING
    assert rig.bench.engine.contexts == []


async def test_an_inline_job_without_an_id_is_refused_and_answered(rig):
    await rig.jobs()
    rig.messages._responder = rig.bench.service._responder
    inline = {"scorecard": "card", "score": "Greeting", "item": {"text": "t"}}
    event = rig.receive(inline)
    exchange = {"request_id": {"dataType": "String", "stringValue": "exchange"}}
    event["Records"][0]["messageAttributes"] = exchange
    assert await rig.function.run(event, remaining=60) == {"batchItemFailures": []}
    [answer] = [json.loads(message["Body"]) for message in rig.drain(rig.responses)]
    assert (answer["request_id"], answer["scoring_job_id"]) == ("exchange", None)
    assert answer["error"]["code"] == "invalid_request"
    assert await rig.bench.store.get(key("exchange")) is None
    assert len(rig.drain(rig.dead)) == 1


async def test_direct_work_that_cannot_work_is_told_and_kept(rig):
    answer = await rig.function.run({"scoring_job_id": "nobody"}, remaining=60)
    assert answer["results"][0]["reason"]["code"] == "not_found"
    assert len(rig.drain(rig.dead)) == 1


async def test_a_failed_score_reaches_the_dead_letter_queue_once(rig):
    await rig.jobs("a")
    rig.bench.engine.script = [ScoreFailed("the model refused")]
    answer = await rig.function.run(rig.receive({"scoring_job_id": "a"}), remaining=60)
    assert answer == {"batchItemFailures": []}
    [dead] = rig.drain(rig.dead)
    assert dead["MessageAttributes"]["reason"]["StringValue"] == "the model refused"


async def test_waiting_sends_share_batches_and_none_is_lost(rig):
    sender = SqsSender(rig.aws, rig.responses)
    calls = []
    send = rig.aws.sqs.send_message_batch
    rig.aws.sqs.send_message_batch = lambda **kwargs: calls.append(kwargs) or send(**kwargs)
    await asyncio.gather(*(sender.send(OutgoingMessage(str(n), {"n": str(n)})) for n in range(25)))
    assert [len(call["Entries"]) for call in calls] == [10, 10, 5]
    assert sorted(int(m["Body"]) for m in rig.drain(rig.responses)) == list(range(25))


@pytest.mark.parametrize("text", ["\ud800", "x"], ids=["no UTF-8", "threads ended"])
async def test_a_send_that_cannot_be_made_says_so_to_its_sender(rig, text):
    sender = SqsSender(rig.aws, rig.responses)
    await rig.aws.aclose()
    with pytest.raises((UnicodeEncodeError, RuntimeError)):
        await sender.send(OutgoingMessage("x", {"a": text}))


async def test_a_queue_that_does_not_exist_is_named(rig):
    sender = SqsSender(rig.aws, rig.responses + "-gone")
    with pytest.raises(StoreUnavailable, match="responses-gone does not exist"):
        await sender.send(OutgoingMessage("x"))


async def test_a_response_too_long_for_sqs_is_sent_without_its_explanation(rig):
    responder = SqsResponder(SqsSender(rig.aws, rig.responses))
    await responder.respond(
        ScoringResponse(
            request_id="r",
            scoring_job_id="j",
            status="success",
            value="Yes",
            explanation="x" * 2_000_000,
        )
    )
    [message] = rig.drain(rig.responses)
    body = json.loads(message["Body"])
    assert (body["value"], body["explanation"], body["truncated"]) == ("Yes", None, True)


async def test_a_value_too_long_for_sqs_is_left_to_the_stored_result(rig):
    responder = SqsResponder(SqsSender(rig.aws, rig.responses))
    await responder.respond(
        ScoringResponse(request_id="r", scoring_job_id="j", status="success", value="v" * 2_000_000)
    )
    [message] = rig.drain(rig.responses)
    body = json.loads(message["Body"])
    assert (body["value"], body["truncated"], body["status"]) == (None, True, "success")


async def test_a_megabyte_of_poison_still_fits_the_dead_letter_queue(rig):
    record = rig.receive("{")["Records"][0]
    event = {"Records": [record | {"body": "\u0001é" * 400_000}]}
    assert await rig.function.run(event, remaining=60) == {"batchItemFailures": []}
    [dead] = rig.drain(rig.dead)
    assert dead["MessageAttributes"]["truncated"]["StringValue"] == "true"
