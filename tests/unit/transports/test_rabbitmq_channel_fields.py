"""The publisher keeps the books of aiormq's channel itself: if aiormq changes them, this says so first."""

import asyncio
import importlib.metadata

import pytest
from aiormq import Connection, spec
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError

FIELDS = {
    "number": int,
    "max_content_size": int,
    "delivery_tag": int,
    "confirmations": dict,
    "message_id_delivery_tag": dict,
    "write_queue": asyncio.Queue,
    "closing": asyncio.Future,
    "is_closed": bool,
    "lock": object,
}


@pytest.fixture
async def channel():
    connection = Connection("amqp://localhost/")
    connection.connection_tune = spec.Connection.Tune(10, 131_072, 10)
    connection.server_properties = {"capabilities": {"publisher_confirms": True}}
    yield Channel(connection, 1)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_fields_that_the_publisher_uses_are_aiormqs(channel):
    problems = [
        f"{name} is {type(getattr(channel, name, None)).__name__} instead of {kind.__name__}"
        for name, kind in FIELDS.items()
        if not isinstance(getattr(channel, name, None), kind)
    ]
    assert not problems, (
        f"aiormq {importlib.metadata.version('aiormq')} changed what "
        f"plexus_scoring/transports/rabbitmq_publish.py relies on: {'; '.join(problems)}"
    )


async def test_the_brokers_confirms_settle_what_stands_in_the_books(channel):
    confirmed, refused = (asyncio.get_running_loop().create_future() for _ in range(2))
    channel.confirmations |= {1: confirmed, 2: refused}
    await channel._on_confirm_frame(spec.Basic.Ack(delivery_tag=1))
    await channel._on_confirm_frame(spec.Basic.Nack(delivery_tag=2))
    assert isinstance(await confirmed, spec.Basic.Ack)
    with pytest.raises(DeliveryError):
        await refused
    assert not issubclass(DeliveryError, PublishError)
