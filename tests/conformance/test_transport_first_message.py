"""Every transport, on its real server: what a message gets that finds nothing, or cannot be read."""

from __future__ import annotations

import json
import logging

import pytest

from plexus_scoring.engines.mock import MockEngine
from plexus_scoring.service import Policy
from plexus_scoring.telemetry import names
from plexus_scoring.transports.requests import RequestHandler
from tests.conformance.test_transport_accounts import answers
from tests.conformance.test_transports import TRANSPORTS, consuming, dead
from tests.support.service import Bench
from tests.support.transport_rigs import RedisRig, eventually, open_rig


@pytest.fixture(params=TRANSPORTS)
async def rig(request):
    async with open_rig(request.param) as rig:
        yield rig


@pytest.fixture
def bench():
    bench = Bench(policy=Policy(lease_seconds=60, max_attempts=3, mock=True))
    bench.service._engine = MockEngine()
    return bench


def handler(rig, bench):
    bench.service._responder = rig.responder
    return RequestHandler(
        bench.service.handle, system="test", responder=rig.responder, metrics=bench.metrics
    )


async def test_in_mock_mode_the_first_message_is_answered_with_nothing_in_any_store(rig, bench):
    async with consuming(rig, handler(rig, bench)):
        await rig.admin.send('{"scoring_job_id": "only-an-id"}', request_id="a")
        inline = {"request_id": "inline", "scorecard": "any", "score": "any", "item": {"id": "x"}}
        await rig.admin.send(json.dumps(inline), request_id="b")
        got = await answers(rig, 2)
    assert {one["scoring_job_id"]: one["status"] for one in got} == {
        "only-an-id": "success",
        "inline": "success",
    }
    assert await dead(rig) == []


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": "told", "scorecard": "any"},
        {"request_id": "told", "scoring_job_id": 7},
        {"scoring_job_id": "told", "item": {"text": "CANARY"}},
    ],
    ids=["no score", "a number for an id", "no scorecard"],
)
async def test_what_cannot_be_read_is_logged_counted_and_answered_by_its_own_id(
    rig, bench, caplog, body
):
    caplog.set_level(logging.ERROR, "plexus_scoring.transports.requests")
    async with consuming(rig, handler(rig, bench)):
        await rig.admin.send(json.dumps({"request_id": "told", **body}), request_id="the exchange")
        (answer,) = await answers(rig, 1)
        await eventually(lambda: dead(rig))
    assert answer["request_id"] == "told"
    assert answer["status"] == "error"
    assert answer["error"]["code"] == "invalid_request"
    (line,) = [record for record in caplog.records if record.name.endswith("requests")]
    assert line.request_id == "told"
    assert "CANARY" not in caplog.text
    assert bench.metrics.counters[names.JOBS, names.OUTCOME_UNKNOWN] == 1


async def test_what_names_nobody_is_logged_and_counted(rig, bench, caplog):
    caplog.set_level(logging.ERROR, "plexus_scoring.transports.requests")
    async with consuming(rig, handler(rig, bench)):
        await rig.admin.send("{not json", request_id="the exchange")
        (message,) = await eventually(lambda: dead(rig))
    assert message.reason_code == "invalid_request"
    (line,) = [record for record in caplog.records if record.name.endswith("requests")]
    assert "not JSON" in line.getMessage()
    assert bench.metrics.counters[names.JOBS, names.OUTCOME_UNKNOWN] == 1
    if isinstance(rig, RedisRig):  # BullMQ carries no correlation id
        assert not hasattr(line, "request_id")
    else:
        assert line.request_id == "the exchange"
