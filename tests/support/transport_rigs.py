"""One way to drive every transport in tests: a queue of its own on a real server, a source, operations, responses."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

from bullmq import Queue

from plexus_scoring.aws import Aws
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.ports import Responder
from plexus_scoring.transports.base import QueueAdmin, Source
from plexus_scoring.transports.memory import MemoryQueue, MemorySource
from plexus_scoring.transports.rabbitmq import RabbitResponder, RabbitSource
from plexus_scoring.transports.rabbitmq_admin import RabbitAdmin
from plexus_scoring.transports.rabbitmq_connection import RabbitConnection
from plexus_scoring.transports.rabbitmq_topology import Topology, ask
from plexus_scoring.transports.redis import RedisResponder, RedisSource
from plexus_scoring.transports.redis_admin import RedisAdmin
from plexus_scoring.transports.redis_connection import connect_redis
from plexus_scoring.transports.sqs import SqsResponder, SqsSender
from plexus_scoring.transports.sqs_admin import SqsAdmin
from plexus_scoring.transports.sqs_poll import SqsSource
from tests.support import brokers
from tests.support.aws import require_embedded_aws
from tests.support.clock import HANG_SECONDS


class Rig(Protocol):
    """A transport under test.

    `counts` says whether uncounted retries can be told from counted ones, `max_receives` how many the broker allows.
    """

    counts: bool
    max_receives: int | None
    responder: Responder
    admin: QueueAdmin

    def source(self) -> Source: ...

    async def responses(self) -> list[dict[str, Any]]: ...


class MemoryRig:
    counts = True
    max_receives: int | None = None

    def __init__(self) -> None:
        self.queue = MemoryQueue()
        self.responder: Responder = self.queue
        self.admin: QueueAdmin = self.queue

    def source(self) -> Source:
        return MemorySource(self.queue)

    async def responses(self) -> list[dict[str, Any]]:
        return [response.body() for response in self.queue.responses]


class RabbitRig:
    counts = True
    max_receives: int | None = None

    def __init__(self, port: int | None = None, prefetch: int = 50) -> None:

        name = f"test-{uuid.uuid4().hex[:8]}"
        self.prefetch = prefetch
        self.topology = Topology(request=name, response=f"{name}-responses")
        self.url = brokers.rabbitmq_url(port)
        self.connection = RabbitConnection(self.url)
        self.responder: Responder = RabbitResponder(self.connection, self.topology)
        self.admin: QueueAdmin = RabbitAdmin(RabbitConnection(self.url), self.topology)

    def source(self) -> Source:

        return RabbitSource(self.connection, self.topology, prefetch=self.prefetch, declare=True)

    async def responses(self) -> list[dict[str, Any]]:
        found = []
        async with self.connection.temporary_channel() as channel:
            while (message := await channel.basic_get(self.topology.response)).delivery_tag:
                found.append(json.loads(bytes(message.body)))
        return found

    async def aclose(self) -> None:

        async def delete(channel: Any) -> None:
            for queue in self.topology.queues():
                await channel.queue_delete(queue)
            await channel.exchange_delete(self.topology.dead_exchange)

        with contextlib.suppress(Exception):
            await ask(self.connection, "", "", delete)
        await self.connection.aclose()
        await self.admin.aclose()


class RedisRig:
    counts = True
    max_receives: int | None = None

    def __init__(self, port: int | None = None, lock_seconds: float = 5 * HANG_SECONDS) -> None:
        name = f"test-{uuid.uuid4().hex[:8]}"
        self.name = name
        self.lock_seconds = lock_seconds
        self.url = brokers.redis_url(port)
        self.client = connect_redis(self.url)
        self.responder: Responder = RedisResponder(
            self.client, f"{name}-responses", request_queue=name, prefix="bull"
        )
        self.admin: QueueAdmin = RedisAdmin(self.client, name, prefix="bull")

    def source(self) -> Source:
        return RedisSource(
            self.client, self.name, prefix="bull", max_stalled=5, lock_seconds=self.lock_seconds
        )

    async def responses(self) -> list[dict[str, Any]]:
        queue = Queue(f"{self.name}-responses", {"connection": self.client, "prefix": "bull"})
        return [job.data for job in await queue.getJobs(["wait", "paused"])]

    async def aclose(self) -> None:
        for key in await self.client.keys(f"bull:{self.name}*"):
            await self.client.delete(key)
        await self.client.aclose()


@functools.cache
def _embedded_aws() -> EmbeddedAws:
    require_embedded_aws()
    aws = EmbeddedAws()
    aws.start()
    atexit.register(aws.stop)
    return aws


class SqsRig:
    counts = False
    max_receives: int | None = 50

    def __init__(self, visibility_seconds: float = 5 * HANG_SECONDS) -> None:
        self.server = server = _embedded_aws()
        self.visibility_seconds = visibility_seconds
        client = server.client("sqs")
        name = f"test-{uuid.uuid4().hex[:8]}"
        make = client.create_queue
        self.dead_url = make(QueueName=f"{name}-dlq")["QueueUrl"]
        self.response_url = make(QueueName=f"{name}-responses")["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": str(self.max_receives),
        }
        self.url = make(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})[
            "QueueUrl"
        ]
        self.aws = Aws(threads=8)
        self.aws.__dict__["sqs"] = server.client("sqs", max_pool_connections=8)
        self.responder: Responder = SqsResponder(SqsSender(self.aws, self.response_url))
        self.admin: QueueAdmin = SqsAdmin(self.aws, self.url)

    def source(self) -> Source:
        return SqsSource(
            self.aws, self.url, visibility_seconds=self.visibility_seconds, wait_seconds=1
        )

    async def responses(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.aws.call(
                self.aws.sqs.receive_message,
                QueueUrl=self.response_url,
                MaxNumberOfMessages=10,
            )
            if not answer.get("Messages"):
                return found
            found += [json.loads(message["Body"]) for message in answer["Messages"]]
            # Left there, the first would be visible again before the last of many thousands was read.
            await self.aws.call(
                self.aws.sqs.delete_message_batch,
                QueueUrl=self.response_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(answer["Messages"])
                ],
            )

    async def aclose(self) -> None:
        for url in (self.url, self.dead_url, self.response_url):
            await self.aws.call(self.aws.sqs.delete_queue, QueueUrl=url)
        await self.aws.aclose()


@contextlib.asynccontextmanager
async def open_rig(kind: str, **options: float) -> AsyncIterator[Rig]:
    rigs = {"memory": MemoryRig, "rabbitmq": RabbitRig, "redis": RedisRig, "sqs": SqsRig}
    rig: Any = rigs[kind](**options)
    try:
        yield rig
    finally:
        if hasattr(rig, "aclose"):
            await rig.aclose()


async def eventually(condition: Any, seconds: float = HANG_SECONDS) -> Any:
    """Wait until `condition` (maybe a coroutine function) answers something true."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)
