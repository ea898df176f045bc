"""Every shape that may invoke the function, and the same work back from what is put on a queue."""

from __future__ import annotations

import json

import pytest

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.messages import ScoringRequest, parse_request
from plexus_scoring.transports.lambda_events import (
    ObjectCreated,
    Poll,
    SqsMessage,
    Unreadable,
    encode_work,
    read_body,
    read_event,
)
from plexus_scoring.transports.objects import request_of_object
from tests.support.service import MemoryAttachments

S3 = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": "calls"},
                "object": {"key": "in/card/Greeting/a+b%C3%BC.txt", "sequencer": "0A"},
            },
        }
    ]
}
OBJECT = ObjectCreated(ref=ObjectRef("calls", "in/card/Greeting/a bü.txt"), tag="0A")
EVENTBRIDGE = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {
        "bucket": {"name": "calls"},
        "object": {"key": "in/card/Greeting/a bü.txt", "sequencer": "0A"},
    },
}
SNS = {
    "Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(S3)}}],
}
JOB = ScoringRequest(scoring_job_id="j", request_id="j")
DEEP: list[object] = []
for _ in range(5_000):
    DEEP = [DEEP]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def sqs(body, **attributes):
    return {
        "messageId": "m1",
        "receiptHandle": "h1",
        "body": body,
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:requests",
        "attributes": {"SentTimestamp": "1700000000500", "MessageGroupId": "g"},
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
        },
    }


def test_sqs_records():
    [message] = read_event({"Records": [sqs("{}", traceparent="00-a-b-01")]})
    assert message == SqsMessage(
        message_id="m1",
        receipt_handle="h1",
        body="{}",
        queue="arn:aws:sqs:us-east-1:000000000000:requests",
        attributes={"traceparent": "00-a-b-01"},
        sent_at=1_700_000_000.5,
        group="g",
    )


@pytest.mark.parametrize(
    "event", [S3, EVENTBRIDGE, SNS], ids=["s3", "s3 over eventbridge", "s3 over sns"]
)
def test_object_notifications_direct_and_in_an_sqs_message(event):
    assert read_event(event) == [OBJECT]
    assert read_body(json.dumps(event)) == [OBJECT]


def test_sns_to_sqs_envelope():
    envelope = {"Type": "Notification", "Message": json.dumps({"scoring_job_id": "j"})}
    assert read_body(json.dumps(envelope)) == [JOB]


def test_upstreams_fan_out_event():
    event = {
        "source": "fanout",
        "message_body": {"scoring_job_id": "j"},
        "receipt_handle": "h",
        "queue_url": "http://q",
    }
    message = read_event(event)
    assert isinstance(message, SqsMessage)
    assert read_body(message.body) == [JOB]
    assert (message.receipt_handle, message.queue) == ("h", "http://q")


def test_lone_surrogates_of_an_event_are_replaced_as_those_of_a_message_are():
    body = {"request_id": "r", "scorecard": "c", "score": "s"}
    body["item"] = {"text": "\ud800", "metadata": {"k\ud800": ["\ud800"]}, "external_id": "\ud800"}
    [work] = read_event(body)
    assert work == read_body(json.dumps(body))[0]
    assert work.new.item.metadata == {"k\ufffd": ["\ufffd"]}
    fan_out = {"source": "fanout", "message_body": body, "receipt_handle": "h", "queue_url": "q"}
    assert read_body(read_event(fan_out).body) == [work]


def test_the_empty_event_polls_and_a_test_event_of_s3_asks_for_nothing():
    assert read_event({}) == Poll()
    assert read_event({"Service": "Amazon S3", "Event": "s3:TestEvent"}) == []


@pytest.mark.parametrize(
    "kind", ["Object Deleted", "Object Tags Added", "Object Restore Completed", 7]
)
def test_other_events_of_a_bucket_through_eventbridge_ask_for_nothing(kind):
    event = {
        "source": "aws.s3",
        "detail-type": kind,
        "detail": {"bucket": {"name": "b"}, "object": {"key": "card/Greeting/call.txt"}},
    }
    assert read_event(event) == []
    assert read_body(json.dumps(event)) == []
    assert len(read_event(event | {"detail-type": "Object Created"})) == 1


@pytest.mark.parametrize(
    "event",
    [
        [],
        "text",
        {"hello": "world"},
        {"Records": [{"eventSource": "aws:kinesis"}]},
        {"Records": [3]},
        {"source": "fanout"},
        {"scoring_job_id": "j", "extra": DEEP},
    ],
)
def test_what_is_none_of_these_is_refused(event):
    with pytest.raises(InvalidRequest):
        read_event(event)


@pytest.mark.parametrize(
    "event",
    [
        {"source": "aws.s3", "detail": {"bucket": 3}},
        {"source": "aws.s3", "detail": 3},
        {"Records": [{"EventSource": "aws:sns", "Sns": {}}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": None}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": 3}}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}, "object": {}}}]},
    ],
)
def test_a_notification_that_cannot_be_read_is_kept_with_what_is_wrong(event):
    [work] = read_event(event)
    assert isinstance(work, Unreadable)
    assert json.loads(encode_work(work)) == event.get("Records", [event])[0]


@pytest.mark.parametrize(
    "work",
    [
        OBJECT,
        JOB,
        ScoringRequest(scoring_job_id="j", request_id="r", traceparent=TRACE, reply_to="q"),
        parse_request({"scoring_job_id": "j", "colour": "red"}),
        parse_request(
            {
                "request_id": "r",
                "scorecard": "c",
                "score": "s",
                "item": {"text": "t", "metadata": {"a": 1}},
            }
        ),
        parse_request(
            {
                "request_id": "r",
                "scorecard": "c",
                "score": "s",
                "item": {"s3": {"bucket": "b", "key": "k"}},
            }
        ),
        parse_request({"request_id": "r", "scorecard": "c", "score": "s", "item": {"id": "i"}}),
        parse_request({"scoring_job_id": "j", "account": "acme"}),
        parse_request(
            {"request_id": "r", "scorecard": "c", "score": "s", "item": {"id": "i"}, "account": "a"}
        ),
    ],
)
def test_work_put_on_a_queue_is_the_same_work_when_it_comes_back(work):
    assert read_body(encode_work(work)) == [work]


async def test_an_objects_key_says_what_to_score():
    request = await request_of_object(OBJECT, MemoryAttachments(), default_account="a")
    assert (request.new.scorecard, request.new.score) == ("card", "Greeting")
    assert request.new.item.id == "a bü"
    assert request.new.item.s3 == OBJECT.ref
    again = await request_of_object(OBJECT, MemoryAttachments(), default_account="a")
    assert again.request_id == request.request_id


async def test_a_json_object_is_a_request():
    attachments = MemoryAttachments()
    ref = ObjectRef("calls", "requests/1.json")
    attachments.foreign[ref] = b'{"scorecard":"card","score":"Greeting","item":{"text":"Hi"}}'
    request = await request_of_object(
        ObjectCreated(ref=ref, tag="1"), attachments, default_account="a"
    )
    assert request.request_id.startswith("s3-")
    assert request.new.item.text == "Hi"


async def test_a_key_that_names_nothing_is_refused():
    with pytest.raises(InvalidRequest, match="scorecard/score/item"):
        await request_of_object(
            ObjectCreated(ref=ObjectRef("b", "file.txt")), MemoryAttachments(), default_account="a"
        )
