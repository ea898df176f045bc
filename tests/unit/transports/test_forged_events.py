"""Events with records that no AWS service sends: each ends by itself, and takes no good record along."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.model.errors import InvalidRequest, StoreUnavailable
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.transports.lambda_function import ScoringFunction
from plexus_scoring.transports.sqs_messages import SqsMessages
from tests.support.service import Bench
from tests.support.stores import key

ARN = "arn:aws:sqs:us-east-1:000000000000:requests"
DEEP: list[object] = []
for _ in range(5_000):
    DEEP = [DEEP]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=8)
    | st.just("9" * 400),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


class Queues:
    """An `Aws` that keeps what is sent to the dead-letter queue; `away`: nothing can be sent there."""

    def __init__(self, *, away: bool = False) -> None:
        names = ("send_message", "send_message_batch", "change_message_visibility_batch")
        self.sqs = SimpleNamespace(**{name: name for name in names})
        self.away = away
        self.dead: list[str] = []

    async def call(self, function, **arguments):
        assert function != "send_message"
        if function == "send_message_batch":
            if self.away:
                raise StoreUnavailable("away")
            for entry in arguments["Entries"]:
                entry["MessageBody"].encode()
                assert entry["MessageBody"]
                self.dead.append(entry["MessageAttributes"]["reason_code"]["StringValue"])
        return {}


class World:
    """A function on memory, with a job for each of its good records."""

    def __init__(self, *, away: bool = False) -> None:
        self.bench = Bench()
        self.aws = Queues(away=away)
        messages = SqsMessages(
            handle=self.bench.service.handle,
            attachments=self.bench.attachments,
            aws=self.aws,
            clock=self.bench.clock,
            metrics=self.bench.metrics,
            request_queue_url="https://requests",
            dead_letter_queue_url="https://dead",
        )
        self.function = ScoringFunction(
            messages=messages,
            handle_oldest=self.bench.service.handle_oldest,
            aws=self.aws,
            clock=self.bench.clock,
            request_queue_url="https://requests",
        )

    async def run(self, event, *good):
        await self.bench.fill()
        for name in good:
            await self.bench.store.create(
                NewJob(id=name, scorecard="card", score="Greeting", item_id="item-1")
            )
            self.bench.attachments.foreign[ObjectRef("calls", f"card/Greeting/{name}.txt")] = b"Hi"
        answer = await self.function.run(event, remaining=60)
        json.dumps(answer, ensure_ascii=False).encode()  # as the runtime client does
        return answer

    async def unscored(self, *good):
        found = [await self.bench.store.get(key(name)) for name in good]
        return [job.id for job in found if job.status is not JobStatus.COMPLETED]


def sqs(name):
    return {
        "messageId": name,
        "receiptHandle": f"handle of {name}",
        "body": json.dumps({"scoring_job_id": name}),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": ARN,
    }


def s3(name):
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "calls"}, "object": {"key": f"card/Greeting/{name}.txt"}},
    }


def spoilt(record):
    """Return records of which some fields are gone or have any value; some of them are still good enough."""
    kept = st.sets(st.sampled_from(sorted(record)))
    changed = st.dictionaries(st.sampled_from(sorted(record)), json_values, min_size=1)
    return st.tuples(kept, changed).map(
        lambda parts: {key: record[key] for key in parts[0]} | parts[1]
    )


def forged(record):
    """Return lists of records, good ones (named) among any others."""
    one = json_values | spoilt(record("bad")) | st.just("good")
    return st.lists(one, min_size=1, max_size=6).map(
        lambda entries: [
            record(f"good-{place}") if entry == "good" else entry
            for place, entry in enumerate(entries)
        ]
    )


def good_of(records, record):
    names = [f"good-{place}" for place in range(len(records))]
    return [name for name, found in zip(names, records, strict=True) if found == record(name)]


MALFORMED = [
    None,
    "text",
    3,
    [],
    {},
    {"eventSource": "aws:sqs"},
    {**sqs("bad"), "messageId": ""},
    {**sqs("bad"), "messageId": "\ud800"},
    {**sqs("bad"), "messageId": ["bad"]},
    {**sqs("bad"), "body": None},
    {**sqs("bad"), "body": DEEP},
    {**sqs("bad"), "body": 10**5_000},
    {**sqs("bad"), "body": "\ud800", "messageAttributes": {"\ud800": {"stringValue": "\ud800"}}},
    {**sqs("bad"), "body": "1" * 30},
    {**sqs("bad"), "messageId": 7, "eventSource": 10**5_000, "attributes": DEEP},
]
HARMLESS = [
    {**sqs("good-1"), "attributes": {"SentTimestamp": "9" * 400, "MessageGroupId": 7}},
    {**sqs("good-1"), "attributes": {"SentTimestamp": "-1", "ApproximateReceiveCount": "x"}},
    {
        **sqs("good-1"),
        "attributes": [DEEP],
        "messageAttributes": {"a": DEEP, "b": {"stringValue": 7}},
    },
    {**sqs("good-1"), "eventSourceARN": None, "eventSource": None},
    {name: value for name, value in sqs("good-1").items() if name != "receiptHandle"},
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("first", [True, False])
async def test_a_malformed_record_is_dead_lettered_beside_good_ones(malformed, first):
    world = World()
    records = [malformed, sqs("good-1")] if first else [sqs("good-1"), malformed]
    assert await world.run({"Records": records}, "good-1") == {"batchItemFailures": []}
    assert await world.unscored("good-1") == []
    assert world.aws.dead == ["invalid_request"]


@pytest.mark.parametrize("harmless", HARMLESS, ids=range(len(HARMLESS)))
async def test_a_record_with_id_and_body_is_worked_on_whatever_else_is_amiss(harmless):
    world = World()
    event = {"Records": [sqs("good-0"), harmless]}
    assert await world.run(event, "good-0", "good-1") == {"batchItemFailures": []}
    assert await world.unscored("good-0", "good-1") == []


async def test_what_cannot_be_dead_lettered_is_reported_by_its_id_or_by_an_empty_one():
    world = World(away=True)
    records = [{**sqs("bad"), "body": None}, None, sqs("good")]
    answer = await world.run({"Records": records}, "good")
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}, {"itemIdentifier": ""}]}
    assert await world.unscored("good") == []


async def test_of_two_records_with_one_id_the_open_one_is_reported():
    world = World(away=True)
    records = [{**sqs("same"), "body": "{"}, {**sqs("same"), "body": '{"scoring_job_id": "good"}'}]
    answer = await world.run({"Records": records}, "good")
    assert answer == {"batchItemFailures": [{"itemIdentifier": "same"}]}


@given(forged(sqs))
def test_good_records_of_any_batch_are_scored_and_every_other_one_ends(records):
    async def play(*, away):
        world, good = World(away=away), good_of(records, sqs)
        answer = await world.run({"Records": records}, *good)
        assert await world.unscored(*good) == []
        reported = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert not set(good) & set(reported)
        if not away:
            assert reported == []

    if any(isinstance(one, dict) and one.get("eventSource") == "aws:sqs" for one in records):
        asyncio.run(play(away=False))
        asyncio.run(play(away=True))


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        DEEP,
        {**s3("bad"), "s3": DEEP},
        {**s3("bad"), "eventName": DEEP},
        {**s3("bad"), "eventSource": 10**5_000},
        {"EventSource": "aws:sns"},
        {"EventSource": "aws:sns", "Sns": {"Message": "{"}},
    ],
    ids=range(7),
)
async def test_a_malformed_record_of_a_notification_is_dead_lettered_beside_good_ones(malformed):
    world = World()
    answer = await world.run({"Records": [malformed, s3("good")]}, "good")
    assert [row["disposition"] for row in answer["results"]] == ["DeadLetter", "Ack"]
    assert world.aws.dead == ["invalid_request"]


@given(forged(s3))
def test_good_records_of_any_notification_are_scored_and_every_other_one_ends(records):
    async def play():
        world, good = World(), good_of(records, s3)
        answer = await world.run({"Records": records}, *good)
        rows = {row["id"]: row["disposition"] for row in answer["results"]}
        assert {rows[f"card/Greeting/{name}.txt"] for name in good} <= {"Ack"}
        assert set(rows.values()) <= {"Ack", "DeadLetter"}
        dead = [row for row in answer["results"] if row["disposition"] == "DeadLetter"]
        assert len(world.aws.dead) == len(dead)

    if any(isinstance(one, dict) and one.get("eventSource") == "aws:s3" for one in records):
        asyncio.run(play())


@given(json_values | spoilt(s3("bad")["s3"]))
def test_any_detail_of_an_eventbridge_event_ends(detail):
    async def play():
        world = World()
        answer = await world.run({"source": "aws.s3", "detail": detail})
        (row,) = answer["results"]
        assert row["disposition"] in {"Ack", "DeadLetter"}
        assert len(world.aws.dead) == (row["disposition"] == "DeadLetter")

    asyncio.run(play())


async def test_a_notification_that_can_neither_be_read_nor_kept_is_given_back_to_its_invoker():
    world = World()
    world.function._messages._dead_letter_queue_url = None
    world.function._messages._request_queue_url = None
    with pytest.raises(InvalidRequest):
        await world.run({"Records": [{"eventSource": "aws:s3"}, s3("good")]}, "good")
    assert len(world.bench.engine.contexts) == 1


async def test_parts_of_a_message_are_judged_by_themselves_and_the_whole_is_kept():
    world = World()
    body = json.dumps({"Records": [{"eventSource": "aws:s3"}, s3("good")]})
    answer = await world.run({"Records": [{**sqs("message"), "body": body}]}, "good")
    assert answer == {"batchItemFailures": []}
    assert len(world.bench.engine.contexts) == 1
    assert world.aws.dead == ["invalid_request"]
