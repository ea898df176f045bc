"""The worker against general-purpose queues: same broker, same database, the same jobs.

    python benchmarks/worker.py                 # no-op engine: jobs a second and CPU a job
    python benchmarks/worker.py --engine 0.1 --concurrency 100
    python benchmarks/worker.py --contenders ours --jobs 100000 --rounds 1   # peak memory over many jobs

It starts a RabbitMQ and a PostgreSQL (durable) of its own and makes an environment for the peers from
``requirements/peers.txt``. Contenders run one after the other in several rounds; medians are printed with their
ranges, and each run is checked for exactly one result and one response a job. Ours does more a job than the peers: it
claims, loads item and scorecard, fences and completes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from plexus_scoring.model.item import Item  # noqa: E402  the path comes first
from plexus_scoring.model.job import NewJob  # noqa: E402
from plexus_scoring.model.scorecard import Scorecard, content_version  # noqa: E402
from plexus_scoring.stores.sql import connect, upgrade  # noqa: E402
from plexus_scoring.transports.rabbitmq_admin import RabbitAdmin  # noqa: E402
from plexus_scoring.transports.rabbitmq_connection import RabbitConnection  # noqa: E402
from plexus_scoring.transports.rabbitmq_topology import Topology, see_queue  # noqa: E402
from plexus_scoring.transports.rabbitmq_topology import ask as ask_broker  # noqa: E402
from tests.support import brokers  # noqa: E402
from tests.support.services import postgresql  # noqa: E402

PEERS = ROOT / "benchmarks" / "peers"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SOURCE = "name: bench\nscores: []\n"
SETTLE_SECONDS = 300
TICKS = os.sysconf("SC_CLK_TCK")

SCHEMA = """
DROP TABLE IF EXISTS peer_results; DROP TABLE IF EXISTS peer_jobs;
CREATE TABLE peer_jobs (id text PRIMARY KEY, status text NOT NULL);
CREATE TABLE peer_results (id text PRIMARY KEY, job_id text NOT NULL UNIQUE, value text NOT NULL);
"""


@dataclass(frozen=True)
class Run:
    """What one run of one contender came to."""

    rate: float
    cpu_ms: float
    peak_mib: float


class Bench:
    """The servers and the way to start each contender."""

    def __init__(self, database: str, options: argparse.Namespace) -> None:
        """Use the given database and a RabbitMQ of this process."""
        self.database = database
        self.options = options
        self.url = brokers.rabbitmq_url()
        self.folder = tempfile.mkdtemp(prefix="plexus-bench-")
        self._runs = 0

    async def run(self, name: str, count: int) -> Run:
        """Queue `count` jobs, start the contender, and measure until the last response is there."""
        self._runs += 1
        topology = Topology(request=f"bench-{self._runs}", response=f"bench-{self._runs}-responses")
        connection = RabbitConnection(self.url)
        await ask_broker(connection, topology.response, "queue", _make(topology.response))
        environment = self._environment(topology)
        if name == "ours":
            await self._queue_ours(topology, count)
        else:
            self._queue_peer(name, count, environment)
        with self._running(name, environment) as process:
            run = await self._measure(connection, topology.response, process, count)
        self._check(name, count)
        await self._delete(connection, topology)
        await connection.aclose()
        return run

    @contextlib.contextmanager
    def _running(self, name: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a contender during the block; if that fails, show the end of the contender's log."""
        log = Path(self.folder) / f"{self._runs}-{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(name), cwd=PEERS, env=environment, stdout=output, stderr=output
            )
        try:
            yield process
        except BaseException:
            print(log.read_text(errors="replace")[-2_000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def _measure(
        self, connection: RabbitConnection, queue: str, process: subprocess.Popen[bytes], count: int
    ) -> Run:
        first: tuple[float, int, float] | None = None
        # Scores that take their time end in waves: the first one costs none of the time that is measured.
        warm = self.options.concurrency if self.options.engine else 1
        peak = 0.0
        limit = time.monotonic() + SETTLE_SECONDS
        while True:
            answers = (await ask_broker(connection, queue, "queue", see_queue(queue))).message_count
            now, used = time.monotonic(), cpu_seconds(process.pid)
            peak = max(peak, resident_mib(process.pid))
            if first is None and answers >= warm:
                first = (now, answers, used)
            if answers >= count:
                break
            if process.poll() is not None or now > limit:
                raise RuntimeError(f"ended at {answers} of {count} responses")
            await asyncio.sleep(0.1)  # each look costs the broker some milliseconds
        if first is None:
            raise RuntimeError("no response was seen")
        began, already, before = first
        jobs = max(1, answers - already)
        return Run(jobs / max(1e-9, now - began), (used - before) * 1_000 / jobs, peak)

    def _environment(self, topology: Topology) -> dict[str, str]:
        options = self.options
        return os.environ | {
            "BENCH_DATABASE": self.database,
            "BENCH_AMQP": self.url,
            "BENCH_REQUESTS": topology.request,
            "BENCH_RESPONSES": topology.response,
            "BENCH_ENGINE_SECONDS": str(options.engine),
            "BENCH_CONCURRENCY": str(options.concurrency or 50),
            "CHAOS_ENGINE_SECONDS": str(options.engine),
            "PLEXUS_STORE": "sql",
            "PLEXUS_DATABASE_URL": self.database,
            "PLEXUS_SCORING_MODE": "mock",
            "PLEXUS_ATTACHMENTS_DIR": f"{self.folder}/attachments",
            "SCORECARD_CACHE_DIR": f"{self.folder}/scorecards",
            "PLEXUS_RABBITMQ_URL": self.url,
            "PLEXUS_RABBITMQ_REQUEST_QUEUE": topology.request,
            "PLEXUS_RABBITMQ_RESPONSE_QUEUE": topology.response,
            "PLEXUS_RABBITMQ_PREFETCH": str(4 * options.concurrency or 600),
            "PLEXUS_WORKER_CONCURRENCY": str(options.concurrency or 300),
            "PLEXUS_HEALTH_HOST": "127.0.0.1",
            "PLEXUS_HEALTH_PORT": "0",
            "LOG_LEVEL": "WARNING",  # as the peers are set; a job's log is not written either
            "PYTHONPATH": str(ROOT),
        }

    def _command(self, name: str) -> list[str]:
        python, scale = str(PEERS_PYTHON), self.options
        threads = str(8 if scale.engine == 0 else scale.concurrency)
        return {
            "ours": [sys.executable, "-m", "tests.support.chaos_worker", "worker", "--transport", "rabbitmq"],
            "floor": [python, "floor_worker.py"],
            "faststream": [python, "faststream_worker.py"],
            "taskiq": [python, "-m", "taskiq", "worker", "taskiq_worker:broker", "--workers", "1",
                       "--max-async-tasks", str(scale.concurrency or 50), "--ack-type", "when_executed",
                       "--log-level", "WARNING"],
            "dramatiq": [python, "-m", "dramatiq", "dramatiq_worker", "--processes", "1",
                         "--threads", threads],
            "celery": [python, "-m", "celery", "-A", "celery_worker", "worker", "--pool", "threads",
                       "--concurrency", threads, "--without-gossip", "--without-mingle",
                       "--without-heartbeat", "--loglevel", "WARNING"],
        }[name]  # fmt: skip

    async def _create_ours(self, count: int) -> None:
        stores = connect(self.database)
        with psycopg.connect(self.database, autocommit=True) as database:
            for table in self._own_tables(database):
                database.execute(f"TRUNCATE {table}")  # type: ignore[call-overload]  # our own names
        version = content_version(SOURCE)
        await stores.catalog.put_scorecard(
            Scorecard(id="bench", name="bench", source=SOURCE, version=version)
        )
        for start in range(0, count, 500):
            await asyncio.gather(
                *(
                    stores.jobs.create(
                        NewJob(
                            id=f"j{n}",
                            scorecard="bench",
                            score="s",
                            item=Item(id=f"i{n}", text="text"),
                        )
                    )
                    for n in range(start, min(count, start + 500))
                )
            )
        await stores.aclose()

    async def _queue_ours(self, topology: Topology, count: int) -> None:
        await self._create_ours(count)
        admin = RabbitAdmin(RabbitConnection(self.url), topology)
        for start in range(0, count, 500):
            await asyncio.gather(
                *(
                    admin.send(
                        json.dumps({"request_id": f"r{n}", "scoring_job_id": f"j{n}"}),
                        request_id=f"r{n}",
                    )
                    for n in range(start, min(count, start + 500))
                )
            )
        await admin.aclose()

    @staticmethod
    def _own_tables(database: Any) -> list[str]:
        rows = database.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%'"
        )
        return [row[0] for row in rows]

    def _create_peers(self, count: int) -> None:
        with psycopg.connect(self.database, autocommit=True) as database:
            database.execute(SCHEMA)
            database.execute(
                "INSERT INTO peer_jobs SELECT 'j' || n, 'PENDING' FROM generate_series(0, %s) n",
                (count - 1,),
            )

    def _queue_peer(self, name: str, count: int, environment: dict[str, str]) -> None:
        self._create_peers(count)
        command = [PEERS_PYTHON, "send.py", name, str(count)]
        subprocess.run(command, cwd=PEERS, env=environment, check=True)

    def _check(self, name: str, count: int) -> None:
        with psycopg.connect(self.database) as database:
            if name == "ours":
                table = next(
                    t
                    for t in self._own_tables(database)
                    if t.endswith("results") and "peer" not in t
                )
            else:
                table = "peer_results"
            row = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[call-overload]  # our own name
        if row is None or row[0] != count:
            raise RuntimeError(f"{name}: {row} results for {count} jobs")

    async def _delete(self, connection: RabbitConnection, topology: Topology) -> None:
        async def delete(channel: Any) -> None:
            for queue in (*topology.queues(), f"{topology.request}.DQ", f"{topology.request}.XQ"):
                await channel.queue_delete(queue)

        await ask_broker(connection, topology.request, "queue", delete)


def _make(queue: str) -> Any:
    async def converse(channel: Any) -> Any:
        return await channel.queue_declare(
            queue, durable=True, arguments={"x-queue-type": "quorum"}
        )

    return converse


def family(pid: int) -> list[int]:
    """Return the process and its descendants."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    return pids


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the process and its descendants."""
    total = 0.0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def resident_mib(pid: int) -> float:
    """Return the resident memory of the process and its descendants."""
    pages = 0
    for member in family(pid):
        try:
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
        except FileNotFoundError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def compare(bench: Bench, options: argparse.Namespace) -> None:
    """Run every contender in turn and print the table."""
    runs: dict[str, list[Run]] = {name: [] for name in options.contenders}
    for round_ in range(options.rounds):
        for name in options.contenders:
            run = await bench.run(name, options.jobs)
            runs[name].append(run)
            print(
                f"round {round_ + 1} {name}: {run.rate:,.0f}/s, {run.cpu_ms:.2f} ms CPU a job",
                file=sys.stderr,
            )
    ceiling = options.concurrency / options.engine if options.engine else None
    print("| | jobs/s (range) | CPU ms/job | peak MiB |" + (" % of ceiling |" if ceiling else ""))
    print("|---|---|---|---|" + ("---|" if ceiling else ""))
    rates: dict[str, float] = {}
    for name, all_of_it in runs.items():
        each = [run.rate for run in all_of_it]
        rate = rates[name] = statistics.median(each)
        row = f"| {name} | {rate:,.0f} ({min(each):,.0f}-{max(each):,.0f}) "
        cpu = statistics.median(run.cpu_ms for run in all_of_it)
        row += f"| {cpu:.2f} | {max(run.peak_mib for run in all_of_it):.0f} |"
        print(row + (f" {100 * rate / ceiling:.0f} |" if ceiling else ""))
    peers = {name: rate for name, rate in rates.items() if name not in {"ours", "floor"}}
    if peers and "ours" in rates:
        best = max(peers, key=lambda name: peers[name])
        print(f"\nours / best peer ({best}): {rates['ours'] / peers[best]:.2f}")
    if "floor" in rates and "ours" in rates:
        print(f"ours / floor: {rates['ours'] / rates['floor']:.2f}")


def prepare_peers() -> None:
    """Make the peers' environment from the locked requirements."""
    stamp = PEERS_PYTHON.parents[1] / ".installed"
    locked = ROOT / "requirements" / "peers.txt"
    if stamp.exists() and stamp.stat().st_mtime >= locked.stat().st_mtime:
        return
    subprocess.run([sys.executable, "-m", "venv", PEERS_PYTHON.parents[1]], check=True)
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", locked]
    subprocess.run([PEERS_PYTHON, *install], check=True)
    stamp.touch()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", type=float, default=0.0, help="seconds that a score takes")
    parser.add_argument(
        "--concurrency",
        type=int,
        default=0,
        help="default: each contender's best for a no-op score (ours 300, asyncio peers 50, thread pools 8)",
    )
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=["ours", "floor", "celery", "dramatiq", "taskiq", "faststream"],
    )
    options = parser.parse_args()
    if options.engine and not options.concurrency:
        parser.error("--engine needs --concurrency: the ceiling follows from both")
    if set(options.contenders) - {"ours"}:
        prepare_peers()
    with postgresql(durable=True) as database:
        upgrade(database)
        asyncio.run(compare(Bench(database, options), options))


if __name__ == "__main__":
    main()
