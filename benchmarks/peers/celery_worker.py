"""Celery: eight threads, acks late, a quorum queue, confirmed responses."""

from __future__ import annotations

import threading
import time
from typing import Any

from celery import Celery
from kombu import Connection, Producer, Queue
from psycopg_pool import ConnectionPool
from work import AMQP, DATABASE, ENGINE_SECONDS, INSERT, REQUESTS, RESPONSES, UPDATE, response

app = Celery("peer", broker=AMQP)
app.conf.update(
    task_queues=[Queue(REQUESTS, routing_key=REQUESTS, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=REQUESTS,
    task_default_routing_key=REQUESTS,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_detect_quorum_queues=True,
    broker_native_delayed_delivery=None,
    broker_transport_options={"confirm_publish": True},
    worker_send_task_events=False,
)
pool = ConnectionPool(DATABASE, min_size=8, max_size=8, open=False)
local = threading.local()


def producer() -> Any:
    """Return this thread's producer."""
    if not hasattr(local, "producer"):
        pool.open()
        connection = Connection(AMQP, transport_options={"confirm_publish": True})
        local.producer = Producer(connection.channel())
    return local.producer


@app.task(name="score")
def score(request_id: str, scoring_job_id: str) -> None:
    """Do the work of one job."""
    send = producer()
    if ENGINE_SECONDS:
        time.sleep(ENGINE_SECONDS)
    with pool.connection() as connection:
        connection.execute(UPDATE, (scoring_job_id,))
        connection.execute(INSERT, (f"result-{scoring_job_id}", scoring_job_id))
    send.publish(
        response(request_id, scoring_job_id),
        exchange="",
        routing_key=RESPONSES,
        delivery_mode=2,
        content_type="application/json",
        content_encoding="utf-8",
    )
