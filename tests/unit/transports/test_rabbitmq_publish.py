import asyncio
from contextlib import asynccontextmanager

import pytest
from aiormq import spec

from plexus_scoring.transports import rabbitmq_publish
from plexus_scoring.transports.rabbitmq_publish import Publisher


class Channel:
    """What the publisher knows of aiormq's channel."""

    number = 1
    max_content_size = 10
    is_closed = False

    def __init__(self):
        self.delivery_tag = 0
        self.confirmations = {}
        self.message_id_delivery_tag = {}
        self.write_queue = asyncio.Queue()
        self.closing = asyncio.get_running_loop().create_future()

    @property
    @asynccontextmanager
    async def lock(self):
        yield


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


def publish(publisher, message_id, body=b"{}"):
    properties = spec.Basic.Properties(message_id=message_id)
    return asyncio.create_task(publisher.publish(body, properties, exchange="", routing_key="q"))


async def test_what_is_published_in_one_turn_is_one_write_in_the_order_of_its_tags():
    channel = Channel()
    publisher = Publisher(channel, confirm_seconds=5)
    tasks = [publish(publisher, name, name.encode()) for name in ("one", "two", "three")]
    await turn()
    assert channel.write_queue.qsize() == 1
    payload = channel.write_queue.get_nowait().payload
    assert payload.rindex(b"one") < payload.rindex(b"two") < payload.rindex(b"three")
    assert list(channel.confirmations) == [1, 2, 3]
    channel.confirmations[2].set_result(None)
    await turn()
    assert [task.done() for task in tasks] == [False, True, False]
    channel.closing.set_result(None)
    for task in (tasks[0], tasks[2]):
        with pytest.raises(ConnectionError):
            await task


@pytest.mark.parametrize(
    ("properties", "routing_key"),
    [
        ({"headers": {"x": b"bytes"}}, "q"),
        ({"headers": {"x": 1e300}}, "q"),
        ({"correlation_id": "c" * 256}, "q"),
        ({}, "q" * 256),
    ],
)
async def test_what_amqp_cannot_carry_fails_alone_and_leaves_no_trace(properties, routing_key):
    channel = Channel()
    publisher = Publisher(channel, confirm_seconds=5)
    before = publish(publisher, "before")
    odd = spec.Basic.Properties(message_id="odd", **properties)
    refused = asyncio.create_task(
        publisher.publish(b"{}", odd, exchange="", routing_key=routing_key)
    )
    after = publish(publisher, "after")
    await turn()
    with pytest.raises((TypeError, OverflowError)):
        await refused
    assert list(channel.confirmations) == [1, 2]  # as the broker counts them
    again = publish(publisher, "odd")  # its id is free
    await turn()
    for tag in (1, 2, 3):
        channel.confirmations[tag].set_result(None)
    await asyncio.gather(before, after, again)


async def test_a_body_longer_than_a_frame_is_sent_in_parts():
    channel = Channel()
    task = publish(Publisher(channel, confirm_seconds=5), "m", b"0123456789" * 2 + b"x")
    await turn()
    assert channel.write_queue.get_nowait().payload.count(b"0123456789") == 2
    channel.confirmations[1].set_result(None)
    await task


async def test_two_messages_of_one_id_are_never_under_way_at_a_time():
    channel = Channel()
    publisher = Publisher(channel, confirm_seconds=5)
    tasks = [publish(publisher, "same"), publish(publisher, "same")]
    await turn()
    assert channel.delivery_tag == 1
    channel.confirmations[1].set_result(None)
    await tasks[0]
    await turn()
    assert channel.delivery_tag == 2
    channel.confirmations[2].set_result(None)
    await tasks[1]


async def test_a_confirm_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(rabbitmq_publish, "_SWEEP_SECONDS", 0.01)
    publisher = Publisher(Channel(), confirm_seconds=0.02)
    with pytest.raises(TimeoutError):
        await publish(publisher, "m")


async def test_nothing_is_sent_for_a_caller_that_has_gone_or_on_a_closed_channel():
    channel = Channel()
    publisher = Publisher(channel, confirm_seconds=5)
    confirm = publish(publisher, "m")
    await asyncio.sleep(0)
    confirm.cancel()
    await turn()
    assert channel.delivery_tag == 0
    channel.closing.set_result(None)
    with pytest.raises(ConnectionError):
        await publish(publisher, "n")
