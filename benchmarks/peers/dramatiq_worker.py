"""dramatiq: eight threads, a quorum queue, no retries or results middleware that costs."""

from __future__ import annotations

import threading
import time
from typing import Any

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from psycopg_pool import ConnectionPool
from work import AMQP, DATABASE, ENGINE_SECONDS, INSERT, REQUESTS, RESPONSES, UPDATE, response


class QuorumBroker(RabbitmqBroker):
    """Declares quorum queues, as every contender has them."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments = super()._build_queue_arguments(queue_name)
        arguments.pop("x-max-priority", None)
        return arguments | {"x-queue-type": "quorum"}


broker = QuorumBroker(url=AMQP, confirm_delivery=True)
dramatiq.set_broker(broker)
pool = ConnectionPool(DATABASE, min_size=8, max_size=8, open=True)
local = threading.local()


def channel() -> Any:
    """Return this thread's channel."""
    if not hasattr(local, "channel"):
        connection = pika.BlockingConnection(pika.URLParameters(AMQP))
        local.channel = connection.channel()
        local.channel.confirm_delivery()
    return local.channel


@dramatiq.actor(queue_name=REQUESTS, max_retries=3)
def score(request_id: str, scoring_job_id: str) -> None:
    """Do the work of one job."""
    if ENGINE_SECONDS:
        time.sleep(ENGINE_SECONDS)
    with pool.connection() as connection:
        connection.execute(UPDATE, (scoring_job_id,))
        connection.execute(INSERT, (f"result-{scoring_job_id}", scoring_job_id))
    channel().basic_publish(
        "",
        RESPONSES,
        response(request_id, scoring_job_id),
        pika.BasicProperties(delivery_mode=2, content_type="application/json"),
    )
