"""What only RabbitMQ has: queues with arguments, reply_to, a dead-letter queue that can be full."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime

import pamqp.encode
import pytest
from aiormq import spec

from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import ConfigurationError, ErrorInfo, StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest, ScoringResponse
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import MemoryMetrics
from plexus_scoring.transports import rabbitmq_topology
from plexus_scoring.transports.base import Envelope
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.transports.rabbitmq import RabbitSource
from plexus_scoring.transports.rabbitmq_connection import RabbitConnection, persistent
from plexus_scoring.transports.requests import RequestHandler
from tests.support.transport_rigs import RabbitRig, eventually


@pytest.fixture
async def rig():
    rig = RabbitRig()
    yield rig
    await rig.aclose()


def consumer(source: RabbitSource, decide, **more) -> Consumer:
    return Consumer(
        source,
        decide,
        concurrency=5,
        drain_seconds=5,
        max_hold_seconds=60,
        max_deliveries=5,
        **more,
    )


async def declare(rig: RabbitRig, name: str, arguments: dict) -> None:
    async def converse(channel):
        return await channel.queue_declare(name, durable=True, arguments=arguments)

    await rabbitmq_topology.ask(rig.connection, name, "queue", converse)


async def test_a_queue_with_other_arguments_is_named(rig):
    await declare(rig, rig.topology.request, {"x-queue-type": "classic"})
    with pytest.raises(
        ConfigurationError, match=rf"{rig.topology.request} exists with other arguments"
    ):
        await rig.source().open()


async def test_check_only_creates_nothing_and_names_what_is_missing(rig):
    source = RabbitSource(rig.connection, rig.topology, prefetch=1, declare=False)
    with pytest.raises(ConfigurationError, match=r"\.dlx does not exist"):
        await source.open()
    assert (await rig.admin.stats()).waiting is None
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    await source.open()  # and with everything there it is content
    await source.aclose()


async def test_declaring_twice_changes_nothing(rig):
    for _ in range(2):
        await rabbitmq_topology.declare(rig.connection, rig.topology)


async def test_a_wrong_password_is_a_wrong_set_up_and_is_not_shown(rig):
    connection = RabbitConnection(rig.url.replace("guest:guest", "guest:hunter2"))
    with pytest.raises(ConfigurationError) as caught:
        await connection.open()
    assert "PLEXUS_RABBITMQ_URL" in caught.value.message
    assert "hunter2" not in caught.value.message


async def respond_to(rig: RabbitRig, *, reply_to: str, correlation_id: str) -> dict[str, int]:
    """Send one request and return how many responses each queue got."""

    async def handle(request: ScoringRequest, deadline: float | None) -> Disposition:
        await rig.responder.respond(
            ScoringResponse(
                request_id=request.request_id,
                scoring_job_id=request.scoring_job_id,
                status="success",
                reply_to=request.reply_to,
            )
        )
        handled.set()
        return Ack()

    handled = asyncio.Event()
    worker = consumer(rig.source(), RequestHandler(handle, system="rabbitmq"))
    running = asyncio.create_task(worker.run())
    await eventually(lambda: rig.connection.is_up)
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    body = json.dumps({"scoring_job_id": "j", "request_id": "r"}).encode()
    await rig.connection.publish(
        body,
        persistent(reply_to=reply_to, correlation_id=correlation_id),
        routing_key=rig.topology.request,
    )
    await handled.wait()
    worker.stop()
    await running
    rig.connection = RabbitConnection(rig.url)
    counts = {}
    for queue in (rig.topology.response, reply_to):
        see = rabbitmq_topology.see_queue(queue)
        try:
            answer = await rabbitmq_topology.ask(rig.connection, queue, "queue", see)
            counts[queue] = answer.message_count
        except ConfigurationError:
            counts[queue] = -1
    return counts


async def test_reply_to_and_correlation_id_are_honoured(rig):
    replies = f"{rig.topology.request}-replies"
    await rig.connection.open()
    await declare(rig, replies, {})
    counts = await respond_to(rig, reply_to=replies, correlation_id="call-7")
    assert counts == {replies: 1, rig.topology.response: 0}
    async with rig.connection.temporary_channel() as channel:
        message = await channel.basic_get(replies, no_ack=True)
        await channel.queue_delete(replies)
    assert message.header.properties.correlation_id == "call-7"
    assert json.loads(bytes(message.body))["request_id"] == "r"


async def test_a_reply_to_that_is_gone_falls_back_to_the_response_queue(rig):
    counts = await respond_to(rig, reply_to="no-such-queue", correlation_id="c")
    assert counts == {"no-such-queue": -1, rig.topology.response: 1}


async def test_a_response_never_becomes_a_request(rig):
    counts = await respond_to(rig, reply_to=rig.topology.request, correlation_id="c")
    assert counts == {rig.topology.request: 0, rig.topology.response: 1}


@pytest.mark.parametrize("declares", [True, False])
async def test_a_queue_that_was_deleted_is_consumed_again_and_not_ready_meanwhile(rig, declares):
    """The broker ends the consumer only: connection and channel stand."""
    seen = []

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        seen.append(envelope.body)
        return Ack()

    await rabbitmq_topology.declare(rig.connection, rig.topology)
    source = RabbitSource(rig.connection, rig.topology, prefetch=5, declare=declares)
    worker = consumer(source, decide)
    running = asyncio.create_task(worker.run())
    await rig.admin.send("before", request_id="r1")
    await eventually(lambda: len(seen) == 1)

    async def delete(channel):
        await channel.queue_delete(rig.topology.request)

    async def unready() -> bool:
        try:
            await source.check()
        except ConfigurationError:
            return False  # the broker has not told us yet
        except StoreUnavailable as error:
            return "not consumed" in error.message
        return False

    async def ready() -> bool:
        return not await unready()

    await rabbitmq_topology.ask(rig.connection, "", "queue", delete)
    await eventually(unready)
    if not declares:
        await rabbitmq_topology.declare(rig.connection, rig.topology)
    await eventually(ready)
    await rig.admin.send("after", request_id="r2")
    await eventually(lambda: len(seen) == 2)
    worker.stop()
    await running


async def test_a_forged_direct_reply_name_ends_no_connection_and_is_answered(rig):
    """RabbitMQ 3.10 answers it with an internal error that closes the connection."""
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    lost = asyncio.Event()
    rig.connection._connection.close_callbacks.add(lambda *_: lost.set())
    await rig.responder.respond(
        ScoringResponse(
            request_id="r",
            scoring_job_id="j",
            status="success",
            reply_to="amq.rabbitmq.reply-to.g1h2AA==.abc",
        )
    )
    assert [response["request_id"] for response in await rig.responses()] == ["r"]
    assert not lost.is_set()


async def test_a_direct_reply_reaches_its_requester(rig):
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    replies = asyncio.Queue()

    async def answer(envelope: Envelope, deadline: float) -> Disposition:
        await rig.responder.respond(
            ScoringResponse(
                request_id="r", scoring_job_id="j", status="success", reply_to=envelope.reply_to
            )
        )
        return Ack()

    async with rig.admin._connection.temporary_channel() as channel:
        await channel.basic_consume("amq.rabbitmq.reply-to", replies.put, no_ack=True)
        properties = persistent(reply_to="amq.rabbitmq.reply-to")
        await channel.basic_publish(b"{}", routing_key=rig.topology.request, properties=properties)
        worker = consumer(rig.source(), answer)
        running = asyncio.create_task(worker.run())
        message = await replies.get()
        worker.stop()
        await running
    assert json.loads(message.body)["request_id"] == "r"


LONG = "é" * 200  # 400 bytes


async def test_an_id_or_a_reply_to_too_long_for_amqp_is_answered_on_the_response_queue(rig):
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    asked = [("a", None), (LONG, None), ("b", LONG)]
    await asyncio.gather(
        *(
            rig.responder.respond(
                ScoringResponse(
                    request_id=request_id, scoring_job_id="j", status="success", reply_to=reply_to
                )
            )
            for request_id, reply_to in asked
        )
    )
    assert {response["request_id"] for response in await rig.responses()} == {"a", LONG, "b"}


async def test_headers_that_our_encoder_does_not_know_do_not_keep_a_message_from_moving(
    rig, monkeypatch
):
    """A double, and a string that is not UTF-8: other clients send both."""
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    encoded = {1: b"d" + struct.pack(">d", 1e300), 2: b"S" + struct.pack(">I", 4) + b"caf\xe9"}
    with monkeypatch.context() as patch:
        patch.setattr(pamqp.encode, "encode_table_value", encoded.__getitem__)
        await rig.connection.publish(
            b"odd", persistent(headers={"double": 1, "text": 2}), routing_key=rig.topology.request
        )
    seen = []

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        seen.append(envelope.body)
        if len(seen) > 1:
            return DeadLetter(ErrorInfo(code="invalid_request", message="never"))
        return Retry(0.0)

    worker = consumer(rig.source(), decide)
    running = asyncio.create_task(worker.run())

    async def dead() -> bool:
        return (await rig.admin.stats()).dead == 1

    await eventually(dead)
    worker.stop()
    await running
    assert seen == [b"odd", b"odd"]

    async def every(message) -> bool:
        return True

    assert await rig.admin.redrive(every, limit=1) == 1


@pytest.mark.parametrize(
    ("properties", "headers", "known"),
    [
        ({"timestamp": datetime.fromtimestamp(1_700_000_000, UTC)}, {}, 1_700_000_000.0),
        ({}, {"timestamp_in_ms": 1_700_000_000_500}, 1_700_000_000.5),
        ({}, {}, None),
        ({}, {"timestamp_in_ms": "yesterday"}, None),
    ],
    ids=["the producer's", "the broker's", "none", "nonsense"],
)
async def test_when_a_message_was_sent_is_the_producers_or_the_brokers_word(
    rig, properties, headers, known
):
    """What neither tells is counted as unknown, so that its absence is seen."""
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    sent = spec.Basic.Properties(message_id="m", headers=headers, **properties)
    await rig.connection.publish(b"{}", sent, routing_key=rig.topology.request)
    seen, metrics = [], MemoryMetrics()

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        seen.append(envelope)
        return Ack()

    worker = consumer(rig.source(), decide, metrics=metrics)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: seen)
    worker.stop()
    await running
    assert seen[0].sent_at == known
    assert bool(metrics.counters[(names.QUEUE_AGE_UNKNOWN,)]) is (known is None)


AS_IT_CAME = {
    "content_type": "application/octet-stream",
    "content_encoding": "gzip",
    "message_type": "scoring.request",
    "app_id": "crm",
    "priority": 5,
    "expiration": "3600000",
    "correlation_id": "c",
    "reply_to": "answers",
    "message_id": "m",
}


async def test_a_message_stays_as_it_came_through_retries_death_and_redrive(rig):
    """The table's row: gzip, with type, app_id, priority and expiration; the dead letter has its reason beside them."""
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    sent = spec.Basic.Properties(**AS_IT_CAME, headers={"tenant": "a", "tries": 3})
    body = gzip.compress(b'{"scoring_job_id": "a"}')
    await rig.connection.publish(body, sent, routing_key=rig.topology.request)
    steps = [Retry(1.0), Retry(0.0), DeadLetter(ErrorInfo(code="invalid_request", message="no"))]

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        return steps.pop(0)

    worker = consumer(rig.source(), decide)
    running = asyncio.create_task(worker.run())

    async def dead() -> bool:
        return (await rig.admin.stats()).dead == 1

    await eventually(dead)
    worker.stop()
    await running

    async def look(queue):
        async with rig.connection.temporary_channel() as channel:
            message = await channel.basic_get(queue)
            about = message.header.properties
            assert bytes(message.body) == body
            assert {name: getattr(about, name) for name in AS_IT_CAME} == AS_IT_CAME
            return dict(about.headers)

    headers = await look(rig.topology.dead)
    assert (headers["tenant"], headers["tries"]) == ("a", 3)
    assert headers["x-plexus-reason-code"] == "invalid_request"

    async def every(message) -> bool:
        return True

    assert await rig.admin.redrive(every, limit=1) == 1
    left = await look(rig.topology.request)
    assert {name for name in left if name != "x-delivery-count"} == {"tenant", "tries"}


@pytest.mark.parametrize(
    ("kind", "encoded", "properties"),
    [
        ("timestamp", struct.pack(">Q", 1_700_000_000_000_000_000), {"timestamp": 1}),
        ("shortstr", b"\x04caf\xe9", {"correlation_id": "x"}),
    ],
    ids=["nanoseconds", "not UTF-8"],
)
async def test_properties_that_our_library_refuses_do_not_end_the_connection(
    rig, monkeypatch, kind, encoded, properties
):
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    (name,) = properties
    real = pamqp.encode.by_type
    with monkeypatch.context() as patch:
        patch.setattr(
            spec.Basic.Properties,
            "encode_property",
            lambda self, key, value: encoded if key == name else real(value, self.amqp_type(key)),
        )
        await rig.connection.publish(
            b"odd", persistent(**properties), routing_key=rig.topology.request
        )
    seen = []

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        seen.append(envelope)
        return Ack()

    worker = consumer(rig.source(), decide)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: seen)
    worker.stop()
    await running
    assert (seen[0].body, seen[0].sent_at) == (b"odd", None)
    assert seen[0].correlation_id in {None, "caf\ufffd"}


async def test_a_full_dead_letter_queue_loses_nothing(rig):
    await rig.connection.open()
    full = rig.topology.queues()[rig.topology.dead] | {"x-max-length": 1}
    await declare(rig, rig.topology.dead, full)
    arguments = rig.topology.queues()

    async def rest(channel):
        await channel.exchange_declare(
            rig.topology.dead_exchange, exchange_type="fanout", durable=True
        )
        for name, values in arguments.items():
            if name != rig.topology.dead:
                await channel.queue_declare(name, durable=True, arguments=values)
        await channel.queue_bind(rig.topology.dead, rig.topology.dead_exchange)

    await rabbitmq_topology.ask(rig.connection, "", "queue", rest)

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        return DeadLetter(ErrorInfo(code="invalid_request", message="never"))

    source = RabbitSource(rig.connection, rig.topology, prefetch=10, declare=False)
    worker = consumer(source, decide)
    running = asyncio.create_task(worker.run())
    rig.admin._declare = False
    for n in range(8):
        await rig.admin.send(f"{n}", request_id=f"r{n}")

    async def all_kept() -> bool:
        stats = await rig.admin.stats()
        return not stats.waiting and stats.dead + stats.delayed == 8

    await eventually(all_kept)
    stats = await rig.admin.stats()
    assert stats.delayed > 0  # what found no room waits for it
    worker.stop()
    await running


def test_the_command_names_every_missing_variable_and_ends_with_1():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLEXUS_")}
    ended = subprocess.run(
        [sys.executable, "-c", "from plexus_scoring.cli import main; main()", "worker", "--transport", "rabbitmq"],
        env=environment | {"PLEXUS_STORE": "plexus_api"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.count("PLEXUS_") == 8
