"""Every transport, on its real server: whose job a message means, and what a correlation id is good for."""

from __future__ import annotations

import json
from typing import Any

import aio_pika
import pytest

from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.transports.requests import RequestHandler
from tests.conformance.test_transports import TRANSPORTS, consuming, dead
from tests.support.service import Bench
from tests.support.stores import key
from tests.support.transport_rigs import RabbitRig, RedisRig, Rig, SqsRig, eventually, open_rig

INLINE = {"scorecard": "card", "score": "Greeting"}


@pytest.fixture(params=TRANSPORTS)
async def rig(request):
    async with open_rig(request.param) as rig:
        yield rig


@pytest.fixture
async def bench():
    bench = Bench()
    await bench.fill()

    async def answer(context: Any) -> ScoreOutcome:
        return ScoreOutcome(value=context.item.text)

    bench.engine.script = [answer] * 10
    return bench


def handler(rig: Rig, bench: Bench, *, account: str | None = None) -> RequestHandler:
    """Return what a worker calls whose PLEXUS_ACCOUNT_KEY is `account`."""
    bench.service._responder = rig.responder
    bench.service._account = account
    return RequestHandler(
        bench.service.handle,
        system="test",
        default_account=account or "default",
        responder=rig.responder,
    )


async def send(rig: Rig, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        await rig.admin.send(json.dumps(body), request_id="the exchange")


async def answers(rig: Rig, count: int) -> list[dict[str, Any]]:
    """Return that many responses, or what came in place of them."""
    found: list[dict[str, Any]] = []

    async def all_there() -> bool:
        found[:] = [*found, *await rig.responses()] if taking(rig) else await rig.responses()
        return len(found) >= count

    await eventually(all_there)
    return found


def taking(rig: Rig) -> bool:
    """Whether reading this rig's responses takes them away."""
    return isinstance(rig, SqsRig)


async def test_two_accounts_with_the_same_id_are_each_answered_their_own(rig, bench):
    accounts = ["default", "one", "two"]
    async with consuming(rig, handler(rig, bench)):
        await send(
            rig,
            *(
                {**INLINE, "request_id": "same", "account": one, "item": {"text": f"of {one}"}}
                for one in accounts
            ),
        )
        got = await answers(rig, 3)
    assert sorted(one["value"] for one in got) == sorted(f"of {one}" for one in accounts)
    assert len({one["score_result_id"] for one in got}) == 3
    for one in accounts:
        job = await bench.store.get(key("same", one))
        assert (await bench.store.result(job.result_id, account=one)).value == f"of {one}"


async def test_other_content_under_a_used_id_is_refused_answered_and_dead(rig, bench):
    body = {**INLINE, "request_id": "used", "account": "one"}
    async with consuming(rig, handler(rig, bench), concurrency=1):
        await send(rig, {**body, "item": {"text": "first", "metadata": {"a": 1, "b": 2}}})
        await eventually(lambda: bench.engine.contexts)
        await send(
            rig,
            {**body, "item": {"text": "second"}},
            {**body, "item": {"metadata": {"b": 2, "a": 1}, "external_id": None, "text": "first"}},
        )
        got = await answers(rig, 3)
    assert sorted(one.get("value") or one["error"]["code"] for one in got) == [
        "first",
        "first",
        "invalid_request",
    ]
    (message,) = await dead(rig)
    assert message.reason_code == "invalid_request"
    assert "the id is used already for another" in message.reason


async def test_a_job_of_another_account_than_the_workers_is_an_unknown_job(rig, bench):
    theirs = NewJob(id="theirs", account="other", scorecard="card", score="Greeting", item_id="i")
    await bench.store.create(theirs)
    bodies = [
        {"scoring_job_id": "theirs", "request_id": "r"},
        {"scoring_job_id": "theirs", "request_id": "r", "account": "other"},
        {"scoring_job_id": "theirs", "request_id": "r", "account": "mine"},
        {**INLINE, "scoring_job_id": "r", "request_id": "theirs", "account": "other",
         "item": {"text": "t"}},
    ]  # fmt: skip
    async with consuming(rig, handler(rig, bench, account="mine")):
        await send(rig, *bodies)
        got = await answers(rig, len(bodies))

        async def all_dead() -> bool:
            return len(await dead(rig)) == len(bodies)

        await eventually(all_dead)
    error = {"code": "not_found", "message": "no scoring job with id theirs"}
    assert [one["error"] for one in got] == [error] * len(bodies)
    by_id = [one for one in got if one["request_id"] == "r"]
    assert len(by_id) == 3
    assert all(one == by_id[0] for one in by_id)
    reasons = {(one.reason_code, one.reason) for one in await dead(rig)}
    assert reasons == {("not_found", "no scoring job with id theirs")}
    assert (await bench.store.get(theirs.key)).status is JobStatus.PENDING
    assert bench.engine.contexts == []


async def test_a_message_without_an_account_means_the_workers(rig, bench):
    async with consuming(rig, handler(rig, bench, account="mine")):
        await send(rig, {**INLINE, "request_id": "new", "item": {"text": "t"}})
        await answers(rig, 1)
    assert (await bench.store.get(key("new", "mine"))).status is JobStatus.COMPLETED
    assert await bench.store.get(key("new")) is None


async def test_an_inline_job_without_an_id_of_its_own_is_refused(rig, bench):
    async with consuming(rig, handler(rig, bench)):
        await send(rig, {**INLINE, "item": {"text": "t"}})
        (message,) = await eventually(lambda: dead(rig))
    assert message.reason_code == "invalid_request"
    assert "no request_id" in message.reason
    assert bench.engine.contexts == []
    assert await bench.store.get(key("the exchange")) is None
    if not isinstance(rig, RedisRig):  # BullMQ carries no correlation id
        (answer,) = await answers(rig, 1)
        assert (answer["request_id"], answer["scoring_job_id"]) == ("the exchange", None)
        assert answer["error"]["code"] == "invalid_request"


async def test_one_correlation_id_of_three_senders_is_no_jobs_id(bench):
    """Three AMQP messages with their own accounts, items and reply_to, and no id but the one correlation id."""
    async with open_rig("rabbitmq") as rig:
        assert isinstance(rig, RabbitRig)
        await rig.admin._prepare()
        async with (
            consuming(rig, handler(rig, bench)),
            await aio_pika.connect(rig.url) as connection,
        ):
            channel = await connection.channel()
            replies = [await channel.declare_queue(exclusive=True) for _ in range(4)]
            for number, queue in enumerate(replies):
                body = {**INLINE, "account": f"a{number}", "item": {"text": f"text {number}"}}
                if number == 3:
                    body["request_id"] = "mine"
                message = aio_pika.Message(
                    json.dumps(body).encode(), correlation_id="shared", reply_to=queue.name
                )
                await channel.default_exchange.publish(message, routing_key=rig.topology.request)
            got = []
            for queue in replies:
                reply = await eventually(lambda queue=queue: queue.get(fail=False))
                assert reply.correlation_id == "shared"
                got.append(json.loads(reply.body))
    for answer in got[:3]:
        assert (answer["status"], answer["request_id"]) == ("error", "shared")
        assert answer["error"]["code"] == "invalid_request"
        assert "request_id" in answer["error"]["message"]
    assert (got[3]["status"], got[3]["value"]) == ("success", "text 3")
