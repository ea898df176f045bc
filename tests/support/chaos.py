"""Workers on a real broker and a real database, faults at the worst moments, and the account at the end."""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.result import result_id_of
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.stores.sql import connect, schema, upgrade
from tests.support import brokers
from tests.support.clock import HANG_SECONDS
from tests.support.proxy import Proxy
from tests.support.services import pgbouncer, postgresql
from tests.support.stores import key
from tests.support.transport_rigs import RabbitRig, RedisRig, Rig, SqsRig

ROOT = Path(__file__).parents[2]
PATIENT = {
    "PLEXUS_LEASE_SECONDS": str(HANG_SECONDS),
    "PLEXUS_REDIS_LOCK_SECONDS": str(HANG_SECONDS),
    "PLEXUS_SQS_VISIBILITY_SECONDS": str(HANG_SECONDS),
    "PLEXUS_DRAIN_SECONDS": str(HANG_SECONDS),
    "PLEXUS_HEALTH_STALE_SECONDS": str(HANG_SECONDS),
}
"""For a worker that no fault strikes: nothing that it holds runs out on a busy machine."""
SOURCE = "name: chaos\nscores: []\n"


@dataclass
class Account:
    """What was left at the end."""

    jobs: int = 0
    completed: int = 0
    dead: int = 0
    results: int = 0
    responses: int = 0
    contradictions: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self) -> None:
        assert self.lost == [], f"{len(self.lost)} jobs neither completed nor dead: {self.lost[:5]}"
        assert self.results == self.completed, "a result without its job, or two for one"
        assert self.unanswered == [], f"{len(self.unanswered)} without a response"
        assert self.contradictions == []


def show_logs(folder: Path) -> None:
    """Write the end of each worker's log where pytest shows it with a failure."""
    for log in sorted(folder.glob("worker-*.log")):
        sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}\n")


@functools.cache
def _server() -> str:
    """The test process's PostgreSQL."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgresql())


@functools.cache
def _pooler() -> str:
    """The test process's PgBouncer, in transaction mode with 4 server connections."""
    stack = contextlib.ExitStack()
    url = stack.enter_context(pgbouncer(_server()))
    atexit.register(stack.close)
    return url


def new_database() -> str:
    """Return the URL of an empty database."""
    server, name = _server(), f"chaos_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.rsplit("/", 1)[0] + f"/{name}"


@dataclass(frozen=True)
class WorkerProcess:
    """A worker, its log and the port of its health server."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Ask its health server."""
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def is_up(self) -> bool:
        """Whether its health server answers: from then on it obeys signals."""
        assert self.process.poll() is None, f"the worker ended:\n{self.output()[-1500:]}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Chaos:
    """One run: jobs, workers, and the way to them."""

    lease_seconds = 2

    def __init__(self, kind: str, rig: Any, database: str, folder: Path) -> None:
        self.kind = kind
        self.rig: Rig = rig
        self.database = database
        self.folder = folder
        self.workers: list[WorkerProcess] = []
        self._counting = psycopg.connect(database, autocommit=True)
        self.ids: list[str] = []
        self.stores = connect(database)
        self.worker_database = database
        self.broker_port = 0
        self.broker_line: Proxy | None = None
        self.database_line: Proxy | None = None
        self._started = 0

    def environment(self, **extra: str) -> dict[str, str]:
        rig: Any = self.rig
        own = {
            "PLEXUS_STORE": "sql",
            "PLEXUS_DATABASE_URL": self.worker_database,
            "PLEXUS_SCORING_MODE": "mock",
            "PLEXUS_ATTACHMENTS_DIR": str(self.folder / "attachments"),
            "SCORECARD_CACHE_DIR": str(self.folder / "scorecards"),
            "PLEXUS_HEALTH_HOST": "127.0.0.1",
            "PLEXUS_LEASE_SECONDS": str(self.lease_seconds),
            "PLEXUS_MAX_ATTEMPTS": "100",
            "PLEXUS_MAX_DELIVERIES": "100",
            "PLEXUS_RETRY_BASE_SECONDS": "0.2",
            "PLEXUS_RETRY_MAX_SECONDS": "2",
            "PLEXUS_BREAKER_SECONDS": "0.5",
            "PLEXUS_DRAIN_SECONDS": "5",
            "PLEXUS_WORKER_CONCURRENCY": "10",
            "LOG_LEVEL": "WARNING",
            "CHAOS_ENGINE_SECONDS": "0.15",
            "PYTHONPATH": str(ROOT),
        }
        if self.kind == "rabbitmq":
            own |= {
                "PLEXUS_RABBITMQ_URL": rig.url,
                "PLEXUS_RABBITMQ_REQUEST_QUEUE": rig.topology.request,
                "PLEXUS_RABBITMQ_RESPONSE_QUEUE": rig.topology.response,
                "PLEXUS_RABBITMQ_PREFETCH": "20",
            }
        elif self.kind == "redis":
            own |= {
                "PLEXUS_REDIS_URL": rig.url,
                "PLEXUS_REDIS_REQUEST_QUEUE": rig.name,
                "PLEXUS_REDIS_RESPONSE_QUEUE": f"{rig.name}-responses",
                "PLEXUS_REDIS_LOCK_SECONDS": "2",
            }
        else:
            own |= rig.server.environment() | {
                "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL": rig.url,
                "PLEXUS_RESPONSE_WORKER_QUEUE_URL": rig.response_url,
                "PLEXUS_SQS_VISIBILITY_SECONDS": "2",
            }
        if self.broker_line is not None:
            # The broker's address is in one or several of them; the other way to it is the test's own.
            there, proxy = f":{self.broker_port}", f":{self.broker_line.port}"
            own = {name: value.replace(there, proxy) for name, value in own.items()}
        return os.environ | own | extra

    def _spawn(self, log: Path, **extra: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "tests.support.chaos_worker"]
        with log.open("wb") as output:
            return subprocess.Popen(
                [*program, "worker", "--transport", self.kind],
                env=self.environment(**extra),
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )

    async def start_worker(self, **extra: str) -> WorkerProcess:
        """Start a worker and wait until it is up."""
        self._started += 1
        port, log = brokers.free_port(), self.folder / f"worker-{self._started}.log"
        process = self._spawn(log, PLEXUS_HEALTH_PORT=str(port), **extra)
        worker = WorkerProcess(process, log, port)
        self.workers.append(worker)
        await self.until(worker.is_up)
        return worker

    async def terminate(self, worker: WorkerProcess) -> int:
        """Send SIGTERM and return the exit code."""
        worker.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(worker.process.wait, HANG_SECONDS)
        self.workers.remove(worker)
        return code

    async def kill_any(self) -> None:
        """kill -9 one worker and start another."""
        worker = random.choice(self.workers)
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)
        await self.start_worker()

    @contextlib.asynccontextmanager
    async def read_only_database(self) -> AsyncIterator[None]:
        """Fail over to a server that takes no writes yet; the sessions of that time stay read-only."""
        name = urlsplit(self.database).path.lstrip("/")
        option = "default_transaction_read_only"
        execute = functools.partial(asyncio.to_thread, self._counting.execute)
        await execute(f"ALTER DATABASE {name} SET {option} = on")
        await execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'plexus-scoring'"
        )
        yield
        await execute(f"ALTER DATABASE {name} RESET {option}")

    def restart_broker(self) -> None:
        {"rabbitmq": brokers.rabbitmq, "redis": brokers.redis}[self.kind]().restart()

    async def until(self, condition: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)

    async def submit(self, count: int, *, times: int = 1, malformed: int = 0) -> None:
        new = [f"{self.kind}-{len(self.ids) + n}" for n in range(count)]
        for start in range(0, count, 500):
            await asyncio.gather(
                *(
                    self.stores.jobs.create(
                        NewJob(
                            id=i, scorecard="chaos", score="s", item=Item(id=i, text=f"text {i}")
                        )
                    )
                    for i in new[start : start + 500]
                )
            )
        self.ids += new
        bodies = [
            (i, json.dumps({"scoring_job_id": i, "request_id": f"request-{i}"}))
            for i in new
            for _ in range(times)
        ]
        kinds = ["{", "[]", "nonsense", '{"scoring_job_id": ""}', '{"x": 1}', '"\\ud800"']
        bodies += [(f"bad-{n}", kinds[n % len(kinds)]) for n in range(malformed)]
        random.shuffle(bodies)
        for start in range(0, len(bodies), 200):
            await asyncio.gather(*(self._send(i, body) for i, body in bodies[start : start + 200]))

    async def send_again(self, count: int) -> None:
        """Send messages of jobs that have theirs already."""
        for job_id in random.sample(self.ids, count):
            body = json.dumps({"scoring_job_id": job_id, "request_id": f"request-{job_id}"})
            await self._send(job_id, body)

    async def _send(self, job_id: str, body: str) -> None:
        while True:
            try:
                return await self.rig.admin.send(body, request_id=f"request-{job_id}")
            except StoreUnavailable:  # the broker is just coming back; twice is once
                await asyncio.sleep(0.2)

    async def count(self, *statuses: JobStatus) -> int:
        rows = await asyncio.to_thread(
            self._counting.execute,
            f"SELECT count(*) FROM {schema.jobs.name} WHERE status = ANY(%s)",
            ([status.value for status in statuses],),
        )
        row = rows.fetchone()
        return row[0] if row else 0

    async def lease_ends(self) -> list[tuple[str, float]]:
        """Return the jobs in work, and when their leases end."""
        rows = await asyncio.to_thread(
            self._counting.execute,
            f"SELECT id, lease_expires_at FROM {schema.jobs.name} WHERE status = %s",
            (JobStatus.IN_PROGRESS.value,),
        )
        return rows.fetchall()

    async def completed(self) -> int:
        return await self.count(JobStatus.COMPLETED)

    async def until_completed(self, count: int, seconds: float = HANG_SECONDS) -> None:
        """Wait until the run is well under way."""
        async with asyncio.timeout(seconds):
            while await self.completed() < count:
                await asyncio.sleep(0.05)

    async def until_settled(self, seconds: float) -> None:
        """Wait until nothing is left to be done."""
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.sleep(0.2)
                if await self.count(JobStatus.PENDING, JobStatus.IN_PROGRESS):
                    continue
                try:
                    stats = await self.rig.admin.stats()
                except StoreUnavailable:  # the broker is just coming back
                    continue
                if not (stats.waiting or stats.delayed or stats.in_flight):
                    return

    async def settle_with_one_worker(self, seconds: float, **extra: str) -> int:
        """Keep one worker running until nothing is left to be done; return how many died."""
        deaths = 0
        settled = asyncio.create_task(self.until_settled(seconds))
        try:
            while not settled.done():
                log = self.folder / f"worker-{deaths}.log"
                process = self._spawn(log, PLEXUS_HEALTH_PORT="0", **extra)
                try:
                    while process.poll() is None and not settled.done():
                        await asyncio.sleep(0.05)
                finally:
                    process.kill()
                    process.wait()
                deaths += not settled.done()
            await settled
        finally:
            settled.cancel()
        return deaths

    async def account(self) -> Account:
        account = Account(jobs=len(self.ids))
        dead = {
            message.body async for message in self.rig.admin.dead_letters(100_000) if message.reason
        }
        account.dead = len(dead)
        dead_ids = {
            json.loads(body)["scoring_job_id"] for body in dead if '"scoring_job_id": "' in body
        }
        answers: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        for response in await self.rig.responses():
            answers[response["scoring_job_id"]].append(response)
            account.responses += 1
        for job_id in self.ids:
            job = await self.stores.jobs.get(key(job_id))
            result = await self.stores.jobs.result(result_id_of(key(job_id)))
            account.results += result is not None
            if job is not None and job.status is JobStatus.COMPLETED:
                account.completed += 1
                if result is None:
                    account.contradictions.append(f"{job_id} completed without a result")
            elif job_id not in dead_ids:
                account.lost.append(f"{job_id} {job.status if job else 'missing'}")
            if not answers[job_id]:
                account.unanswered.append(job_id)
            said = {
                json.dumps({k: v for k, v in a.items() if k != "traceparent"}, sort_keys=True)
                for a in answers[job_id]
            }
            if len(said) > 1:
                account.contradictions.append(f"{job_id}: {said}")
        return account

    async def aclose(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self._counting.close()
        await self.stores.aclose()


@contextlib.asynccontextmanager
async def chaos(kind: str) -> AsyncIterator[Chaos]:
    """Give a run on the process's broker and a database of its own; the workers reach both through proxies.

    On RabbitMQ PgBouncer stands between workers and database.
    """
    with contextlib.ExitStack() as stack:
        url = new_database()
        await asyncio.to_thread(upgrade, url)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plexus-chaos-")))
        rig: Any = {"rabbitmq": RabbitRig, "redis": RedisRig, "sqs": SqsRig}[kind]()
        if kind == "rabbitmq":  # a worker that stands still is given up in less than half a minute
            rig.url = rig.url.replace(f"heartbeat={HANG_SECONDS}", "heartbeat=10")
        run = Chaos(kind, rig, url, folder)
        version = content_version(SOURCE)
        await run.stores.catalog.put_scorecard(
            Scorecard(id="chaos", name="chaos", source=SOURCE, version=version)
        )
        run.broker_port = urlsplit(rig.server.endpoint_url if kind == "sqs" else rig.url).port or 0
        run.broker_line = stack.enter_context(Proxy(run.broker_port))
        port = urlsplit(_pooler() if kind == "rabbitmq" else url).port or 0
        run.database_line = stack.enter_context(Proxy(port))
        run.worker_database = url.replace(f":{urlsplit(url).port}/", f":{run.database_line.port}/")
        try:
            yield run
        except BaseException:
            show_logs(folder)
            raise
        finally:
            await run.aclose()
            await rig.aclose()


async def finish(run: Chaos, began: float, seconds: float) -> Account:
    """Wait for the end, settle the account and check it."""
    await run.until_settled(seconds)
    account = await run.account()
    account.seconds = time.monotonic() - began
    account.check()
    return account
