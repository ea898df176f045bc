"""FIFO queues whole: groups, repetitions, order, dead letters; and queues with a bound of their own. SQS is moto's."""

from __future__ import annotations

import asyncio
import json

import boto3
import pytest
from moto import mock_aws

from plexus_scoring.aws import Aws
from plexus_scoring.model.errors import ErrorInfo, ScorecardError
from plexus_scoring.model.messages import ScoringResponse
from plexus_scoring.transports.lambda_function import ScoringFunction
from plexus_scoring.transports.sqs import SqsResponder, SqsSender
from plexus_scoring.transports.sqs_admin import SqsAdmin
from plexus_scoring.transports.sqs_messages import SqsMessages
from plexus_scoring.transports.sqs_poll import SqsSource
from tests.support.service import Bench

DEAD = ErrorInfo(code="scorecard_error", message="unknown class Foo")


@pytest.fixture
def sqs(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("sqs")


def make(sqs, name, **attributes):
    return sqs.create_queue(
        QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true", **attributes}
    )["QueueUrl"]


@pytest.fixture
def queues(sqs):
    dead = make(sqs, "dead")
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = json.dumps({"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 5})
    return make(sqs, "requests", RedrivePolicy=policy), make(sqs, "responses"), dead


def received(sqs, url):
    answer = sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["All"],
    )
    return answer.get("Messages", [])


def send(sqs, url, group, *bodies):
    for body in bodies:
        sqs.send_message(
            QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=body
        )


async def take(source, count):
    got = []
    while len(got) < count:
        got += await source.receive(10)
    return got


def bodies(deliveries):
    return [delivery.envelope.body for delivery in deliveries]


async def test_a_worker_has_one_message_of_a_group_at_a_time(sqs, queues):
    send(sqs, queues[0], "a", "a1", "a2", "a3")
    send(sqs, queues[0], "b", "b1")
    source = SqsSource(Aws(threads=4), queues[0], wait_seconds=0)
    await source.open()
    first, other = await take(source, 2)
    assert bodies([first, other]) == ["a1", "b1"]
    await first.ack()
    (second,) = await take(source, 1)
    assert second.envelope.body == "a2"
    await second.retry(0, counted=False)  # a3, taken with it, must not overtake it
    again = await take(source, 1)
    assert bodies(again) == ["a2"]
    await again[0].ack()
    assert bodies(await take(source, 1)) == ["a3"]


async def test_a_dead_letter_is_in_its_group_once_and_never_blocks_it(sqs, queues):
    """The table's row: with group and deduplication id, and the next of the group is worked on."""
    send(sqs, queues[0], "a", "a1", "a2")
    source = SqsSource(Aws(threads=4), queues[0], wait_seconds=0)
    await source.open()
    (first,) = await take(source, 1)
    await source.dead_letter(first._message, DEAD)  # and crashes before the delete
    await first.dead_letter(DEAD)
    (second,) = await take(source, 1)
    assert second.envelope.body == "a2"
    (dead,) = received(sqs, queues[2])
    assert (dead["Body"], dead["Attributes"]["MessageGroupId"]) == ("a1", "a")
    assert dead["Attributes"]["MessageDeduplicationId"]
    assert dead["MessageAttributes"]["reason_code"]["StringValue"] == "scorecard_error"


async def test_a_redriven_dead_letter_goes_back_into_its_group(sqs, queues):
    send(sqs, queues[2], "a", json.dumps({"scoring_job_id": "j"}))
    admin = SqsAdmin(Aws(threads=4), queues[0])

    async def every(_message):
        return True

    assert await admin.redrive(every, limit=10) == 1
    (message,) = received(sqs, queues[0])
    assert message["Attributes"]["MessageGroupId"] == "a"


async def test_requests_are_sent_without_a_delay_and_the_same_may_be_sent_again(sqs, queues):
    admin = SqsAdmin(Aws(threads=4), queues[0])
    for _ in range(2):
        await admin.send('{"scoring_job_id": "j"}', request_id="an id\nof its own", delay=30)
    assert len(received(sqs, queues[0])) == 2


async def test_responses_are_in_their_jobs_order_and_a_repetition_is_dropped(sqs, queues):
    responder = SqsResponder(SqsSender(Aws(threads=4), queues[1]))
    for status in ("error", "success", "success"):
        await responder.respond(
            ScoringResponse(request_id="r", scoring_job_id="j", status=status, value="Yes")
        )
    messages = received(sqs, queues[1])
    assert [json.loads(message["Body"])["status"] for message in messages] == ["error", "success"]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"j"}


async def test_the_function_dead_letters_and_retries_on_fifo_queues(sqs, queues):
    aws, bench = Aws(threads=4), Bench()
    await bench.fill()
    messages = SqsMessages(
        handle=bench.service.handle,
        attachments=bench.attachments,
        aws=aws,
        clock=bench.clock,
        metrics=bench.metrics,
        request_queue_url=queues[0],
    )
    function = ScoringFunction(
        messages=messages,
        handle_oldest=bench.service.handle_oldest,
        aws=aws,
        clock=bench.clock,
        request_queue_url=queues[0],
    )
    bench.engine.script = [ScorecardError("unknown class Foo")]
    inline = {"scorecard": "card", "score": "Greeting", "item": {"text": "x"}}
    send(sqs, queues[0], "a", json.dumps({"request_id": "one", **inline}))
    await function.run({}, remaining=60)
    (dead,) = received(sqs, queues[2])
    assert dead["Attributes"]["MessageGroupId"] == "a"
    bench.engine.script = [ConnectionError("away")]
    await function.run({"request_id": "two", **inline}, remaining=60)
    (later,) = received(sqs, queues[0])
    assert json.loads(later["Body"])["request_id"] == "two"


@pytest.mark.parametrize("batch", [1, 3])
async def test_a_response_beyond_its_queues_own_bound_is_shortened(sqs, batch):
    """The table's row: 300 KB to a queue with MaximumMessageSize 262144. Others in its batch are sent whole."""
    url = sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "262144"})[
        "QueueUrl"
    ]
    responder = SqsResponder(SqsSender(Aws(threads=4), url))
    sizes = [300_000, *[10] * (batch - 1)]
    await asyncio.gather(
        *(
            responder.respond(
                ScoringResponse(
                    request_id=str(size),
                    scoring_job_id="j",
                    status="success",
                    value="Yes",
                    explanation="x" * size,
                )
            )
            for size in sizes
        )
    )
    answers = [json.loads(message["Body"]) for message in received(sqs, url)]
    assert len(answers) == batch
    long = next(answer for answer in answers if answer["request_id"] == "300000")
    assert (long["value"], long["explanation"], long["truncated"]) == ("Yes", None, True)
    assert all("truncated" not in answer for answer in answers if answer is not long)


async def test_a_response_that_no_shortening_helps_is_told_and_given_up(sqs, caplog):
    url = sqs.create_queue(QueueName="tiny", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    responder = SqsResponder(SqsSender(Aws(threads=4), url))
    error = ErrorInfo(code="score_failed", message="m" * 2_000)
    await responder.respond(
        ScoringResponse(request_id="r", scoring_job_id="j", status="error", error=error)
    )
    assert "response not sent" in caplog.text


async def test_a_dead_letter_beyond_its_queues_own_bound_is_cut(sqs):
    from plexus_scoring.transports.sqs import DeadLetterQueue  # noqa: PLC0415

    url = sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "2048"})["QueueUrl"]
    queue = DeadLetterQueue(SqsSender(Aws(threads=4), url))
    await queue.put("x" * 5_000, DEAD, attributes={}, source="requests")
    (dead,) = received(sqs, url)
    assert dead["MessageAttributes"]["truncated"]["StringValue"] == "true"
    assert len(dead["Body"]) > 1_000
