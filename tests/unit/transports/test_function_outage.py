"""Ten minutes without a dependency, in compressed time: messages wait, nothing is counted against a job."""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace

import pytest

from plexus_scoring.model.errors import ProviderDown, StoreUnavailable
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.service import ScoringService
from plexus_scoring.telemetry.metrics import NoMetrics
from plexus_scoring.transports.base import LONGEST_DELAY_SECONDS, growing_delay
from plexus_scoring.transports.breaker import Breaker
from plexus_scoring.transports.lambda_events import read_event
from plexus_scoring.transports.lambda_function import ScoringFunction
from plexus_scoring.transports.sqs_messages import SqsMessages
from tests.support.service import Bench
from tests.support.stores import key

OUTAGE = 600
CONTAINERS = 3
BATCH = 10
MAX_RECEIVES = 100


class Away:
    """A port that does not answer until a time."""

    def __init__(self, port, error, clock, until) -> None:
        self._port, self._error, self._clock, self._until = port, error, clock, until
        self.refused = 0

    def __getattr__(self, method):
        target = getattr(self._port, method)
        if not inspect.iscoroutinefunction(target):
            return target

        async def call(*args, **kwargs):
            if self._clock.now() < self._until:
                self.refused += 1
                raise self._error
            return await target(*args, **kwargs)

        return call


class Queue:
    """SQS's visibility, receive counts and redrive, and what the function asks of its clients."""

    def __init__(self, clock) -> None:
        names = ("send_message_batch", "change_message_visibility_batch")
        self.sqs = SimpleNamespace(**{name: name for name in names})
        self.clock = clock
        self.visible_at: dict[str, float] = {}
        self.receives: dict[str, int] = {}

    async def call(self, function, **arguments):
        assert function == "change_message_visibility_batch"
        for entry in arguments["Entries"]:
            self.visible_at[entry["ReceiptHandle"]] = self.clock.now() + entry["VisibilityTimeout"]
        return {}

    def send(self, name):
        self.visible_at[name], self.receives[name] = self.clock.now(), 0

    def batch(self):
        due = [name for name, at in self.visible_at.items() if at <= self.clock.now()][:BATCH]
        for name in due:
            self.visible_at[name] = self.clock.now() + 1800
            self.receives[name] += 1
        return [
            {
                "messageId": name,
                "receiptHandle": name,
                "body": json.dumps({"scoring_job_id": name}),
                "attributes": {"ApproximateReceiveCount": str(self.receives[name])},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:requests",
            }
            for name in due
        ]

    def settle(self, batch, answer):
        open_ = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for record in batch:
            if record["messageId"] not in open_:
                del self.visible_at[record["messageId"]]


def container(bench, queue, ports):
    breaker = Breaker(failures=BATCH, seconds=15, metrics=NoMetrics(), clock=bench.clock.now)
    watched = {name: breaker.watch(name, port) for name, port in ports.items()}
    service = ScoringService(**watched, clock=bench.clock, policy=bench.policy)
    messages = SqsMessages(
        handle=service.handle,
        attachments=bench.attachments,
        aws=queue,
        clock=bench.clock,
        metrics=bench.metrics,
        request_queue_url="https://requests",
        dead_letter_queue_url="https://dead",
    )
    return ScoringFunction(
        messages=messages,
        handle_oldest=service.handle_oldest,
        aws=queue,
        clock=bench.clock,
        request_queue_url="https://requests",
        gate=breaker,
    )


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("jobs", StoreUnavailable("throttled")),
        ("catalog", StoreUnavailable("throttled")),
        ("attachments", StoreUnavailable("503 SlowDown")),
        ("responder", StoreUnavailable("the response queue is away")),
        ("engine", ProviderDown("503 from the provider")),
    ],
)
async def test_ten_minutes_without_it_cost_time_and_nothing_else(part, error):
    bench = Bench()
    await bench.fill()
    queue, names = Queue(bench.clock), [f"job-{number}" for number in range(120)]
    began = bench.clock.now()
    away = Away(bench.ports[part], error, bench.clock, began + OUTAGE)
    containers = [container(bench, queue, bench.ports | {part: away}) for _ in range(CONTAINERS)]
    for name in names:
        await bench.store.create(
            NewJob(id=name, scorecard="card", score="Greeting", item_id="item-1")
        )
        queue.send(name)
    while queue.visible_at:
        for function in containers:
            if batch := queue.batch():
                queue.settle(batch, await function.run({"Records": batch}, remaining=60))
        bench.clock.time += 1
        assert bench.clock.now() - began < 3 * OUTAGE, f"{len(queue.visible_at)} are still there"
    asked = away.refused
    jobs = [await bench.store.get(key(name)) for name in names]
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert {answer.scoring_job_id for answer in bench.responder.sent} == set(names)
    assert max(queue.receives.values()) < MAX_RECEIVES / 4
    if part == "responder":  # no breaker: one caller's full queue must not stop the others' jobs
        assert asked <= len(names) * 12
    else:  # a batch in each container, then a probe each time that its breaker lets one through
        assert asked <= CONTAINERS * (BATCH + OUTAGE / 15)
    scores = len(bench.engine.contexts)
    assert scores <= (asked if part == "attachments" else 0.1 * len(names)) + len(names)


def test_delays_grow_with_the_receives_up_to_ten_minutes():
    for receives in range(1, 200):
        bound = min(LONGEST_DELAY_SECONDS, 5.0 * 2 ** (receives - 1))
        assert bound / 2 <= growing_delay(5.0, receives) <= bound


@pytest.mark.parametrize(
    ("told", "receives"), [("7", 7), ("0", 1), ("-1", 1), ("x", 1), (None, 1), ("9" * 400, 1)]
)
def test_a_records_receives_are_read(told, receives):
    record = {
        "messageId": "m",
        "body": "{}",
        "eventSource": "aws:sqs",
        "attributes": {"ApproximateReceiveCount": told},
    }
    (message,) = read_event({"Records": [record]})
    assert message.receives == receives
