"""FastStream at its idiomatic best: prefetch equal to the concurrency, pooled connections, uvloop."""

from __future__ import annotations

import asyncio

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
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

broker = RabbitBroker(AMQP, default_channel=Channel(prefetch_count=CONCURRENCY), log_level=30)
app = FastStream(broker)
pool = AsyncConnectionPool(DATABASE, min_size=10, max_size=10, open=False)
publisher = broker.publisher(
    RabbitQueue(RESPONSES, queue_type=QueueType.QUORUM, durable=True), persist=True
)


@app.on_startup
async def start() -> None:
    """Connect before the first job."""
    await pool.open(wait=True)


@broker.subscriber(RabbitQueue(REQUESTS, queue_type=QueueType.QUORUM, durable=True))
async def score(message: dict[str, str]) -> None:
    """Do the work of one job."""
    if ENGINE_SECONDS:
        await asyncio.sleep(ENGINE_SECONDS)
    job_id = message["scoring_job_id"]
    async with pool.connection() as connection:
        await connection.execute(UPDATE, (job_id,))
        await connection.execute(INSERT, (f"result-{job_id}", job_id))
    await publisher.publish(
        response(message["request_id"], job_id), content_type="application/json"
    )


if __name__ == "__main__":
    uvloop.run(app.run())
