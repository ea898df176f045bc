"""No framework at all: aio-pika, a psycopg pool, one transaction a job, uvloop. What a team would write by hand."""

from __future__ import annotations

import asyncio
import json

import aio_pika
import uvloop
from psycopg_pool import AsyncConnectionPool
from work import (
    AMQP,
    CONCURRENCY,
    DATABASE,
    ENGINE_SECONDS,
    INSERT,
    REQUESTS,
    RESPONSES,
    UPDATE,
    response,
)


async def main() -> None:
    """Run until stopped."""
    pool = AsyncConnectionPool(DATABASE, min_size=10, max_size=10, open=False)
    await pool.open(wait=True)
    connection = await aio_pika.connect_robust(AMQP)
    reading, writing = await connection.channel(), await connection.channel()
    await reading.set_qos(CONCURRENCY)
    queue = await reading.declare_queue(
        REQUESTS, durable=True, arguments={"x-queue-type": "quorum"}
    )

    async def score(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        request = json.loads(message.body)
        if ENGINE_SECONDS:
            await asyncio.sleep(ENGINE_SECONDS)
        job_id = request["scoring_job_id"]
        async with pool.connection() as database:
            await database.execute(UPDATE, (job_id,))
            await database.execute(INSERT, (f"result-{job_id}", job_id))
        body = response(request["request_id"], job_id)
        await writing.default_exchange.publish(
            aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
            routing_key=RESPONSES,
        )
        await message.ack()

    await queue.consume(score)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
