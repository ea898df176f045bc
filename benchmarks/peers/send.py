"""Puts jobs on a peer's queue in the peer's own message format: ``send.py PEER COUNT``."""

from __future__ import annotations

import asyncio
import json
import sys

import aio_pika
from work import AMQP, REQUESTS


async def plain(count: int) -> None:
    """Queue bare JSON."""
    connection = await aio_pika.connect(AMQP)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(REQUESTS, durable=True, arguments={"x-queue-type": "quorum"})
        for start in range(0, count, 500):
            await asyncio.gather(
                *(
                    channel.default_exchange.publish(
                        aio_pika.Message(
                            json.dumps({"request_id": f"r{n}", "scoring_job_id": f"j{n}"}).encode(),
                            content_type="application/json",
                            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        ),
                        routing_key=REQUESTS,
                    )
                    for n in range(start, min(count, start + 500))
                )
            )


async def taskiq(count: int) -> None:
    """Queue through taskiq's own client."""
    from taskiq_worker import broker, score

    await broker.startup()
    for start in range(0, count, 500):
        await asyncio.gather(
            *(score.kiq(f"r{n}", f"j{n}") for n in range(start, min(count, start + 500)))
        )
    await broker.shutdown()


def main() -> None:
    """Queue what the command line asks for."""
    peer, count = sys.argv[1], int(sys.argv[2])
    if peer == "celery":
        from celery_worker import score

        for n in range(count):
            score.delay(f"r{n}", f"j{n}")
    elif peer == "dramatiq":
        from dramatiq_worker import score

        for n in range(count):
            score.send(f"r{n}", f"j{n}")
    elif peer == "taskiq":
        asyncio.run(taskiq(count))
    else:
        asyncio.run(plain(count))


if __name__ == "__main__":
    main()
