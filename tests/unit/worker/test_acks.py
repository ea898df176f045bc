import asyncio
import random

from plexus_scoring.transports.rabbitmq_acks import Acks


class Channel:
    """Refuses, as the broker does, a tag that it does not wait for."""

    is_closed = False

    def __init__(self, delivered):
        self.waiting = set(range(1, delivered + 1))
        self.frames = 0

    async def basic_ack(self, tag, *, multiple=False, wait=True):
        await asyncio.sleep(0)  # the writer's queue is full
        self.frames += 1
        assert tag in self.waiting, f"PRECONDITION_FAILED - unknown delivery tag {tag}"
        self.waiting -= {t for t in self.waiting if t == tag or (multiple and t < tag)}


async def test_what_is_settled_in_one_turn_is_one_frame():
    acks, channel = Acks(), Channel(100)
    for tag in range(1, 101):
        acks.add(channel, tag)
    await acks.drain()
    assert channel.waiting == set()
    assert channel.frames == 1


async def test_one_that_is_not_settled_is_left_out():
    acks, channel = Acks(), Channel(10)
    for tag in (1, 2, 4, 5, 7):
        acks.add(channel, tag)
    await acks.drain()
    assert channel.waiting == {3, 6, 8, 9, 10}


async def test_no_tag_is_acknowledged_twice_in_whatever_order_work_ends():
    for seed in range(20):
        order = random.Random(seed)
        acks, channel = Acks(), Channel(200)
        tags = list(range(1, 201))
        order.shuffle(tags)
        for tag in tags:
            if tag % 17 == 0:
                channel.waiting.discard(tag)  # settled in another way
                acks.forget(channel, tag)
            else:
                acks.add(channel, tag)
            if order.random() < 0.3:
                await asyncio.sleep(0)
        while channel.waiting:
            await acks.drain()
            await asyncio.sleep(0)
        await acks.drain()
