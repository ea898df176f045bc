"""Objects that messages name: folders, versions, and the bodies of SQS's extended client. S3 is moto's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from moto import mock_aws

from plexus_scoring.attachments.s3 import S3Attachments
from plexus_scoring.aws import Aws
from plexus_scoring.model.disposition import Ack, Retry
from plexus_scoring.transports.lambda_events import SqsMessage, read_event
from plexus_scoring.transports.lambda_function import ScoringFunction
from plexus_scoring.transports.sqs_messages import SqsMessages
from tests.support.service import Bench
from tests.support.stores import key

POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"


@pytest.fixture
def world(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(), ThreadPoolExecutor(2) as threads:
        yield World(threads)


class World:
    def __init__(self, threads):
        self.s3, self.sqs = boto3.client("s3"), boto3.client("sqs")
        self.s3.create_bucket(Bucket="calls")
        self.s3.put_bucket_versioning(Bucket="calls", VersioningConfiguration={"Status": "Enabled"})
        self.dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        self.aws, self.bench = Aws(threads=4), Bench()
        # The service and the function read items from the same place.
        self.attachments = S3Attachments(self.s3, threads, "calls", max_bytes=1_000_000)
        self.bench.service._attachments = self.attachments
        self.messages = SqsMessages(
            handle=self.bench.service.handle,
            attachments=self.attachments,
            aws=self.aws,
            clock=self.bench.clock,
            metrics=self.bench.metrics,
            dead_letter_queue_url=self.dead,
        )
        self.function = ScoringFunction(
            messages=self.messages,
            handle_oldest=self.bench.service.handle_oldest,
            aws=self.aws,
            clock=self.bench.clock,
            request_queue_url=None,
        )

    def put(self, name, text):
        return self.s3.put_object(Bucket="calls", Key=name, Body=text.encode())["VersionId"]

    async def work_on(self, body):
        message = SqsMessage(message_id="m", receipt_handle="h", body=json.dumps(body), queue="q")
        return await self.messages.work_on(message, None)

    def dead_letters(self):
        answer = self.sqs.receive_message(QueueUrl=self.dead, MessageAttributeNames=["All"])
        return answer.get("Messages", [])


def s3_event(name, **about):
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "calls"}, "object": {"key": name, **about}},
    }
    return {"Records": [record]}


def bridge_event(name, **about):
    detail = {"bucket": {"name": "calls"}, "object": {"key": name, **about}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


@pytest.mark.parametrize("event", [s3_event, bridge_event])
async def test_a_folder_of_the_console_is_no_item(world, event):
    """The table's row: its key ends in a slash, its size is 0."""
    name = "call-centre-quality/Greeting/batch-june/"
    world.put(name, "")
    answer = await world.function.run(event(name, size=0), remaining=60)
    assert answer["processed"] == 0
    assert await world.work_on(event(name, size=0)) == Ack()
    assert world.dead_letters() == []
    assert world.bench.engine.contexts == []


@pytest.mark.parametrize(
    ("event", "field"), [(s3_event, "versionId"), (bridge_event, "version-id")]
)
@pytest.mark.parametrize("then", ["overwritten", "deleted"])
async def test_the_events_version_is_what_is_scored(world, event, field, then):
    """The table's row: overwritten, or deleted, before its event is worked on."""
    await world.bench.fill()
    version = world.put("card/Greeting/call-1.txt", "the first text")
    if then == "overwritten":
        world.put("card/Greeting/call-1.txt", "the second text")
    else:
        world.s3.delete_object(Bucket="calls", Key="card/Greeting/call-1.txt")
    answer = await world.function.run(
        event("card/Greeting/call-1.txt", **{field: version}), remaining=60
    )
    assert [row["disposition"] for row in answer["results"]] == ["Ack"]
    (context,) = world.bench.engine.contexts
    assert context.item.text == "the first text"


@pytest.mark.parametrize("topic", [False, True])
@pytest.mark.parametrize("name", [POINTER, "com.amazon.sqs.javamessaging.MessageS3Pointer"])
async def test_the_body_of_the_extended_client_is_read_from_s3(world, name, topic):
    await world.bench.fill()
    body = {"request_id": "r", "scorecard": "card", "score": "Greeting", "item": {"text": "Hi"}}
    world.put("payload-1", json.dumps(body))
    pointer = [name, {"s3BucketName": "calls", "s3Key": "payload-1"}]
    notification = {"Type": "Notification", "Message": json.dumps(pointer)}
    assert await world.work_on(notification if topic else pointer) == Ack()
    assert (await world.bench.store.get(key("r"))).status == "COMPLETED"


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"s3BucketName": "calls", "s3Key": "gone"}, "gone"),
        ({"bucket": "calls"}, "PayloadS3Pointer"),
    ],
)
async def test_a_pointer_to_nothing_is_dead_and_says_so(world, about, says):
    assert await world.work_on([POINTER, about]) == Ack()
    (dead,) = world.dead_letters()
    assert json.loads(dead["Body"])[0] == POINTER
    assert says in dead["MessageAttributes"]["reason"]["StringValue"]


async def test_a_body_that_cannot_be_read_now_is_tried_again(world, monkeypatch):
    from plexus_scoring.model.errors import StoreUnavailable  # noqa: PLC0415

    async def away(_ref):
        raise StoreUnavailable("S3 is away")

    monkeypatch.setattr(world.attachments, "read", away)
    pointer = [POINTER, {"s3BucketName": "calls", "s3Key": "payload-1"}]
    assert isinstance(await world.work_on(pointer), Retry)


def test_a_retry_keeps_the_version():
    from plexus_scoring.transports.lambda_events import encode_work, read_work  # noqa: PLC0415

    work = read_event(s3_event("card/Greeting/call-1.txt", versionId="v1"))
    assert read_work(json.loads(encode_work(work[0]))) == work
