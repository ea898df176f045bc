"""The time that the worker adds to a job at a steady load, beside a bare loop of aio-pika and psycopg.

    python -m benchmarks.worker_latency                 # no-op engine, 500 jobs a second for 20 s
    python -m benchmarks.worker_latency --rate 300 --engine 0.1

Jobs are sent at fixed times whatever became of the earlier ones, and each one's latency counts from the moment that
it was due until its response is read back from the broker, less the engine's own time. So it holds both ways through
the broker and this generator's own delays. `ours` claims, loads, fences and completes; `floor` writes two rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import aio_pika

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.worker import Bench, prepare_peers  # noqa: E402  the path comes first
from plexus_scoring.stores.sql import upgrade  # noqa: E402
from plexus_scoring.transports.rabbitmq_admin import RabbitAdmin  # noqa: E402
from plexus_scoring.transports.rabbitmq_connection import RabbitConnection  # noqa: E402
from plexus_scoring.transports.rabbitmq_topology import Topology  # noqa: E402
from tests.support.services import postgresql  # noqa: E402

QUORUM = {"x-queue-type": "quorum"}
WARM_SECONDS = 3
ANSWER_SECONDS = 60


class LatencyBench(Bench):
    """Sends at a rate, and reads the responses back."""

    async def latencies(self, name: str) -> list[float]:
        """Return the latency of each job after the first seconds, in seconds."""
        self._runs += 1
        topology = Topology(
            request=f"latency-{self._runs}", response=f"latency-{self._runs}-responses"
        )
        count = int(self.options.rate * (WARM_SECONDS + self.options.seconds))
        client = await aio_pika.connect(self.url)
        async with client:
            sending, reading = await client.channel(), await client.channel()
            responses = await reading.declare_queue(
                topology.response, durable=True, arguments=QUORUM
            )
            await self._prepare(name, topology, count, sending)
            arrived: dict[str, float] = {}
            someone, everyone = asyncio.Event(), asyncio.Event()

            async def note(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                arrived.setdefault(json.loads(message.body)["request_id"], time.monotonic())
                someone.set()
                if len(arrived) == count:
                    everyone.set()

            await responses.consume(note, no_ack=True)
            with self._running(name, self._environment(topology)):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await someone.wait()
                due = await self._send(sending, topology.request, count)
                async with asyncio.timeout(ANSWER_SECONDS):
                    await everyone.wait()
        self._check(name, count)
        begin = due[0] + WARM_SECONDS
        return sorted(
            arrived[f"r{n}"] - at - self.options.engine for n, at in enumerate(due) if at >= begin
        )

    async def _prepare(
        self, name: str, topology: Topology, count: int, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        """Create the jobs, the request queue and the first request: its response says that the worker is there."""
        first = json.dumps({"request_id": "r0", "scoring_job_id": "j0"})
        if name == "ours":
            await self._create_ours(count)
            admin = RabbitAdmin(RabbitConnection(self.url), topology)
            await admin.send(first, request_id="r0")
            await admin.aclose()
            return
        self._create_peers(count)
        await channel.declare_queue(topology.request, durable=True, arguments=QUORUM)
        await channel.default_exchange.publish(
            aio_pika.Message(first.encode()), routing_key=topology.request
        )

    async def _send(
        self, channel: aio_pika.abc.AbstractChannel, queue: str, count: int
    ) -> list[float]:
        """Send all jobs but the first at their times; return when each was due."""
        began = time.monotonic()
        due = [began + n / self.options.rate for n in range(count)]
        sends = set()
        for n in range(1, count):
            wait = due[n] - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            body = json.dumps({"request_id": f"r{n}", "scoring_job_id": f"j{n}"}).encode()
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            send = asyncio.create_task(channel.default_exchange.publish(message, routing_key=queue))
            sends.add(send)
            send.add_done_callback(sends.discard)
        await asyncio.gather(*sends)
        return due


def percentile(ordered: list[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def compare(bench: LatencyBench) -> None:
    """Run both and print the table."""
    print(f"{bench.options.rate:g} jobs a second, engine {bench.options.engine:g} s\n")
    print("| | jobs | p50 ms | p90 ms | p99 ms | max ms |")
    print("|---|---|---|---|---|---|")
    for name in bench.options.contenders:
        found = await bench.latencies(name)
        cells = " | ".join(
            f"{1000 * percentile(found, share):.1f}" for share in (0.5, 0.9, 0.99, 1)
        )
        print(f"| {name} | {len(found)} | {cells} |", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=500.0, help="jobs a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engine", type=float, default=0.0, help="seconds that a score takes")
    parser.add_argument("--concurrency", type=int, default=0)
    parser.add_argument("--contenders", nargs="+", default=["ours", "floor"])
    options = parser.parse_args()
    if options.engine and not options.concurrency:
        options.concurrency = int(options.rate * options.engine * 2)
    if "floor" in options.contenders:
        prepare_peers()
    with postgresql(durable=True) as database:
        upgrade(database)
        asyncio.run(compare(LatencyBench(database, options)))


if __name__ == "__main__":
    main()
