"""taskiq with taskiq-aio-pika: quorum queue, acknowledgement when executed, uvloop (its own choice)."""

from __future__ import annotations

import asyncio

import aio_pika
from psycopg_pool import AsyncConnectionPool
from taskiq import TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType
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

broker = AioPikaBroker(AMQP, qos=CONCURRENCY).with_queue(
    Queue(name=REQUESTS, type=QueueType.QUORUM, durable=True)
)
pool = AsyncConnectionPool(DATABASE, min_size=10, max_size=10, open=False)


class Responses:
    """The channel of responses, once there is one."""

    channel: aio_pika.abc.AbstractChannel


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Connect before the first job."""
    await pool.open(wait=True)
    state.connection = await aio_pika.connect_robust(AMQP)
    Responses.channel = await state.connection.channel()


@broker.task(task_name="score")
async def score(request_id: str, scoring_job_id: str) -> None:
    """Do the work of one job."""
    if ENGINE_SECONDS:
        await asyncio.sleep(ENGINE_SECONDS)
    async with pool.connection() as connection:
        await connection.execute(UPDATE, (scoring_job_id,))
        await connection.execute(INSERT, (f"result-{scoring_job_id}", scoring_job_id))
    body = response(request_id, scoring_job_id)
    await Responses.channel.default_exchange.publish(
        aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
        routing_key=RESPONSES,
    )
