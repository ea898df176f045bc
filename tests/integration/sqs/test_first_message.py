"""SQS: what a function or a worker gives a message that finds nothing, or cannot be read.

SQS is moto's, as in `test_sqs_function`. The other transports: `tests/conformance/test_transport_first_message.py`.
"""

from __future__ import annotations

import json
import logging

import pytest

from plexus_scoring.engines.mock import MockEngine
from plexus_scoring.model.disposition import Ack
from plexus_scoring.service import Policy
from plexus_scoring.telemetry import names
from plexus_scoring.transports.sqs_poll import SqsDecide, SqsSource
from tests.integration.sqs.test_sqs_function import Rig, aws

__all__ = ["aws"]

ONLY_AN_ID = {"scoring_job_id": "only-an-id"}
INLINE = {"request_id": "inline", "scorecard": "any", "score": "any", "item": {"id": "x"}}


@pytest.fixture
def rig(aws):
    rig = Rig()
    rig.bench.service._policy = Policy(mock=True)
    rig.bench.service._engine = MockEngine()
    rig.messages._responder = rig.bench.service._responder
    return rig


def answered(rig):
    bodies = [json.loads(message["Body"]) for message in rig.drain(rig.responses)]
    return {body["request_id"]: body["status"] for body in bodies}


async def test_in_mock_mode_an_event_of_sqs_is_answered_with_nothing_in_any_store(rig):
    event = rig.receive(ONLY_AN_ID, INLINE)
    assert await rig.function.run(event, remaining=60) == {"batchItemFailures": []}
    assert answered(rig) == {"only-an-id": "success", "inline": "success"}
    assert rig.drain(rig.dead) == []


@pytest.mark.parametrize("event", [ONLY_AN_ID, INLINE], ids=["id", "inline"])
async def test_in_mock_mode_a_direct_invocation_is_answered(rig, event):
    done = await rig.function.run(event, remaining=60)
    (row,) = done["results"]
    assert row["disposition"] == "Ack"
    assert answered(rig) == {row["id"]: "success"}


async def test_in_mock_mode_a_polling_worker_answers(rig):
    rig.sqs.send_message(QueueUrl=rig.requests, MessageBody=json.dumps(ONLY_AN_ID))
    source = SqsSource(rig.aws, rig.requests, wait_seconds=1)
    await source.open()
    (delivery,) = await source.receive(1)
    assert await SqsDecide(rig.messages)(delivery.envelope, rig.bench.clock.now() + 60) == Ack()
    await source.aclose()
    assert answered(rig) == {"only-an-id": "success"}


async def test_what_cannot_be_read_is_logged_counted_and_answered_by_its_own_id(rig, caplog):
    caplog.set_level(logging.ERROR, "plexus_scoring.transports.requests")
    event = rig.receive({"request_id": "told", "scorecard": "any"}, "{not json")
    assert await rig.function.run(event, remaining=60) == {"batchItemFailures": []}
    assert answered(rig) == {"told": "error"}
    lines = [record for record in caplog.records if record.name.endswith("requests")]
    named = {getattr(line, "request_id", None) for line in lines}
    assert named == {"told", None}
    assert rig.metrics.counters[names.JOBS, names.OUTCOME_UNKNOWN] == 2
    assert len(rig.drain(rig.dead)) == 2
