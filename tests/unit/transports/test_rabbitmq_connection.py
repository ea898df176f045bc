"""What stands where a broker should: nothing of it may end the worker."""

import asyncio
import gc
import struct

import pytest
from pamqp import commands, frame

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.transports import rabbitmq_connection
from plexus_scoring.transports.rabbitmq_connection import RabbitConnection

GREETINGS = {
    "closes at once": b"",
    "closes within a frame's head": b"\x01\x00",
    "closes within a frame": struct.pack(">BHI", 1, 0, 400) + b"\x00\x0a\x00\x0a\x00\x09",
    "speaks something else": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "closes after its greeting": frame.marshal(
        commands.Connection.Start(0, 9, {}, mechanisms="PLAIN", locales="en_US"), 0
    ),
    "speaks another version": b"AMQP\x00\x01\x00\x00",
}


async def open_against(answer, *, stay=False):
    async def serve(reader, writer):
        await reader.read(8)
        writer.write(answer)
        if stay:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = RabbitConnection(f"amqp://guest:guest@127.0.0.1:{port}/")
    try:
        await connection.open()
    finally:
        await connection.aclose()
        server.close()


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_a_line_that_ends_in_the_greeting_is_an_outage(greeting):
    with pytest.raises(StoreUnavailable, match="RabbitMQ cannot be reached"):
        await open_against(GREETINGS[greeting])


async def test_a_line_that_stays_silent_is_an_outage(monkeypatch):
    monkeypatch.setattr(rabbitmq_connection, "CONNECT_SECONDS", 0.2)
    with pytest.raises(StoreUnavailable, match="RabbitMQ cannot be reached"):
        await open_against(b"", stay=True)


async def test_a_line_that_had_ended_before_it_was_read_is_an_outage(monkeypatch):
    # Seen with uvloop behind a proxy that accepts and hangs up; aiormq says it with this error.
    async def connect(*_, **__):
        raise StopAsyncIteration

    monkeypatch.setattr(rabbitmq_connection.aio_pika, "connect", connect)
    with pytest.raises(StoreUnavailable, match="RabbitMQ cannot be reached"):
        await RabbitConnection("amqp://localhost/").open()


async def test_an_attempt_that_is_cancelled_while_it_is_refused_leaves_no_error_behind():
    told, openings = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def refuse(reader, writer):
        await reader.read(8)
        writer.write(GREETINGS["closes after its greeting"])
        await reader.read(100)
        writer.write(frame.marshal(commands.Connection.Close(403, "ACCESS_REFUSED", 0, 0), 0))
        writer.close()
        for _ in range(len(openings)):  # the refusal is read some turns of the loop later
            await asyncio.sleep(0)
        openings[-1].cancel()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(12):
        connection = RabbitConnection(f"amqp://guest:guest@127.0.0.1:{port}/")
        openings.append(asyncio.create_task(connection.open()))
        await asyncio.gather(openings[-1], return_exceptions=True)
        await connection.aclose()
    server.close()
    openings.clear()
    gc.collect()
    assert told == []
