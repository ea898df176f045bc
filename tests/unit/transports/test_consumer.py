"""The loop that every transport shares, where a real broker cannot be made to wait as it is wanted."""

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from plexus_scoring.model.disposition import Ack
from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.transports import consumer as consumer_module
from plexus_scoring.transports.base import Envelope
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.transports.sqs_poll import SqsSource


class Delivery:
    def __init__(self, name):
        self.envelope = Envelope(message_id=name, body="{}")
        self.ends = []

    async def ack(self):
        self.ends.append("ack")

    async def abandon(self):
        self.ends.append("abandon")


class Source:
    """Its second `receive` lasts until `poll_ends`, as a long poll does, whatever is asked of it meanwhile."""

    name = "queue"

    def __init__(self, *deliveries, hold_seconds=None):
        self.waiting = deque(deliveries)
        self.hold_seconds = hold_seconds
        self.max_deliveries = None
        self.polling = asyncio.Event()
        self.poll_ends = asyncio.Event()
        self.extended = asyncio.Event()

    async def open(self):
        pass

    async def receive(self, limit):
        if self.waiting:
            return [self.waiting.popleft()]
        self.polling.set()
        await self.poll_ends.wait()
        return ()

    async def extend(self, deliveries):
        self.extended.set()

    async def stop(self):
        pass

    async def aclose(self):
        pass


class Shut:
    is_open = False

    async def wait_open(self):
        await asyncio.Event().wait()


def make(source, decide, **more):
    return Consumer(source, decide, concurrency=2, max_hold_seconds=60, max_deliveries=5, **more)


@pytest.mark.parametrize("twice", [False, True], ids=["drain ends", "second signal"])
async def test_a_poll_under_way_puts_off_neither_the_drain_nor_a_second_signal(twice):
    given_back = asyncio.Event()

    async def decide(envelope, deadline):
        try:
            await asyncio.Event().wait()
        finally:
            given_back.set()
        return Ack()

    delivery = Delivery("long")
    source = Source(delivery)
    consumer = make(source, decide, drain_seconds=3_600 if twice else 0.01)
    running = asyncio.create_task(consumer.run())
    await source.polling.wait()
    consumer.stop()
    if twice:
        consumer.stop()
    await given_back.wait()  # while the poll goes on
    source.poll_ends.set()
    await running
    assert delivery.ends == ["abandon"]


async def test_what_the_source_holds_is_extended_while_nothing_is_in_work(monkeypatch):
    monkeypatch.setattr(consumer_module, "_HOLD_CHECK_SECONDS", 0.01)
    source = Source(hold_seconds=0.03)
    consumer = make(source, None, drain_seconds=1, gate=Shut())
    running = asyncio.create_task(consumer.run())
    await source.extended.wait()
    source.poll_ends.set()
    consumer.stop()
    await running


async def test_a_client_that_swallows_a_cancellation_keeps_no_worker_from_ending(monkeypatch):
    """redis-py does, while it connects; and that is what an extension does while the server is away."""
    monkeypatch.setattr(consumer_module, "_HOLD_CHECK_SECONDS", 0.01)

    class Away(Source):
        async def extend(self, deliveries):
            self.extended.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise StoreUnavailable("cannot connect") from None

    source = Away(hold_seconds=0.03)
    consumer = make(source, None, drain_seconds=0)
    running = asyncio.create_task(consumer.run())
    await source.extended.wait()
    source.poll_ends.set()
    consumer.stop()
    await running


async def test_what_a_poll_brought_while_nobody_collected_is_extended():
    """Several polls are under way; one is collected, and no slot is free for the others' messages."""
    changed = []
    polls = asyncio.Queue()

    class Aws:
        sqs = SimpleNamespace(receive_message="receive", change_message_visibility_batch="change")

        async def call(self, function, **arguments):
            if function == "receive":
                return {"Messages": await polls.get()}
            changed.extend(entry["ReceiptHandle"] for entry in arguments["Entries"])
            return {}

    def messages(start):
        return [
            {"MessageId": f"m{n}", "ReceiptHandle": f"h{n}", "Body": "{}"}
            for n in range(start, start + 10)
        ]

    source = SqsSource(Aws(), "https://queue", visibility_seconds=60)
    polls.put_nowait(messages(0))
    assert len(await source.receive(20)) == 10  # the queue is full: several polls from now on
    polls.put_nowait(messages(10))
    held = await source.receive(20)
    polls.put_nowait(messages(20))
    while not polls.empty():
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    await source.extend(held)
    assert sorted(changed) == [f"h{n}" for n in range(10, 30)]
    assert [delivery.handle for delivery in await source.receive(20)] == [
        f"h{n}" for n in range(20, 30)
    ]


async def test_a_queue_that_may_be_seen_and_not_received_from_is_not_ready():
    allowed = False

    class Aws:
        sqs = SimpleNamespace(receive_message="receive", get_queue_attributes="see")

        async def call(self, function, **arguments):
            if function == "receive" and not allowed:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage")
            return {}

    source = SqsSource(Aws(), "https://queue")
    await source.check()
    with pytest.raises(StoreUnavailable):
        await source.receive(1)
    with pytest.raises(StoreUnavailable, match="nothing can be received"):
        await source.check()
    allowed = True
    await source.receive(1)
    await source.check()
