"""Claim and complete, jobs a second, against the floor of a worker that guards nothing.

    python -m benchmarks.stores [--jobs 4000] [--runs 3]

The floor does what a worker on a general-purpose queue does: one transaction a job (UPDATE … WHERE status = 'PENDING',
INSERT result), no lease, no fence, no attempt count, over its own pool of `concurrency` connections (at most 20).
Ours claims and completes: two writes a job, each fenced. PostgreSQL is a private cluster that waits for its disk;
SQLite waits for its disk too. Runs of both alternate; the medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import psycopg
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Claimed, JobKey, NewJob
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.stores import sql
from plexus_scoring.stores.sql.database import Database
from tests.support.services import postgresql

LEVELS = (1, 50, 100)
EXPLANATION = "The agent greeted the caller by name and gave her own. " * 4
_UPDATE = (
    "UPDATE jobs SET status = 'COMPLETED', completed_at = {0} WHERE account = 'default' AND id = {0}"
    " AND status = 'PENDING'"
)
_INSERT = (
    "INSERT INTO results (account, id, job_id, created_at, body)"
    " VALUES ('default', {0}, {0}, {0}, {0})"
)

Work = Callable[[str], Awaitable[None]]


def result_of(job_id: str) -> ScoreResult:
    """Return a result of usual size."""
    return ScoreResult(
        id=result_id_of(JobKey("default", job_id)),
        job_id=job_id,
        scorecard="calls",
        score="Greeting",
        value="Yes",
        created_at=time.time(),
        explanation=EXPLANATION,
        confidence=0.97,
    )


async def fill(url: str, count: int) -> None:
    """Empty the tables and create the jobs."""
    database = Database(url)
    for table in ("jobs", "results"):
        await database.write(
            lambda connection, name=table: connection.execute(text(f"DELETE FROM {name}"))
        )
    await database.aclose()
    stores = sql.connect(url)
    item = Item(id="call", text="Hello, this is Ann. " * 20)
    jobs = [
        NewJob(id=f"job-{n}", scorecard="calls", score="Greeting", item=item) for n in range(count)
    ]
    await asyncio.gather(*(stores.jobs.create(job) for job in jobs))
    await stores.aclose()
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE jobs, results")


async def drive(work: Work, ids: Iterator[str], concurrency: int) -> float:
    """Return how many seconds it takes to put every job through `work`."""

    async def worker() -> None:
        for job_id in ids:
            await work(job_id)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return time.perf_counter() - start


async def ours(url: str, count: int, concurrency: int) -> float:
    """Claim and complete every job."""
    stores = sql.connect(url)

    async def work(job_id: str) -> None:
        answer = await stores.jobs.claim(JobKey("default", job_id), lease_seconds=60)
        if not isinstance(answer, Claimed):
            raise SystemExit(f"{job_id}: {answer}")
        await stores.jobs.complete(answer.lease, result_of(job_id))

    await stores.jobs.get(JobKey("default", "warm"))
    seconds = await drive(work, (f"job-{n}" for n in range(count)), concurrency)
    await stores.aclose()
    return seconds


async def floor_postgresql(url: str, count: int, concurrency: int) -> float:
    """One unguarded transaction a job."""
    update, insert = _UPDATE.format("%s"), _INSERT.format("%s")
    size = min(concurrency, 20)
    async with AsyncConnectionPool(url, min_size=size, max_size=size, open=False) as pool:
        await pool.wait()

        async def work(job_id: str) -> None:
            async with pool.connection() as connection:
                await connection.execute(update, (time.time(), job_id))
                await connection.execute(insert, (job_id, job_id, time.time(), EXPLANATION))

        return await drive(work, (f"job-{n}" for n in range(count)), concurrency)


async def floor_sqlite(url: str, count: int, concurrency: int) -> float:
    """One unguarded transaction a job."""
    update, insert = _UPDATE.format("?"), _INSERT.format("?")
    path = url.removeprefix("sqlite:///")
    mine = local()

    def transaction(job_id: str) -> None:
        if not hasattr(mine, "connection"):
            mine.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            mine.connection.execute("PRAGMA synchronous = FULL")
        mine.connection.execute("BEGIN IMMEDIATE")
        mine.connection.execute(update, (time.time(), job_id))
        mine.connection.execute(insert, (job_id, job_id, time.time(), EXPLANATION))
        mine.connection.execute("COMMIT")

    with ThreadPoolExecutor(1) as threads:  # SQLite has one writer; more threads only fight for it
        loop = asyncio.get_running_loop()

        async def work(job_id: str) -> None:
            await loop.run_in_executor(threads, transaction, job_id)

        return await drive(work, (f"job-{n}" for n in range(count)), concurrency)


async def check(url: str, count: int) -> None:
    """Exit unless every job has exactly one result."""
    database = Database(url)
    query = text(
        "SELECT count(*) FROM jobs j JOIN results r ON r.account = j.account AND r.job_id = j.id"
        " WHERE status = 'COMPLETED'"
    )
    done = await database.read(lambda connection: connection.execute(query).scalar_one())
    await database.aclose()
    if done != count:
        raise SystemExit(f"{done} of {count} jobs are complete")


def compare(
    name: str,
    url: str,
    floor: Callable[[str, int, int], Awaitable[float]],
    options: argparse.Namespace,
) -> None:
    """Print a row for each level of concurrency."""
    for concurrency in LEVELS:
        count = options.jobs if concurrency > 1 else max(options.jobs // 8, 1)
        rates: dict[str, list[float]] = {"floor": [], "ours": []}
        cpu: list[float] = []
        for _ in range(options.runs):
            for kind, measure in (("floor", floor), ("ours", ours)):
                asyncio.run(fill(url, count))
                before = time.process_time()
                rates[kind].append(count / asyncio.run(measure(url, count, concurrency)))  # type: ignore[arg-type]
                if kind == "ours":
                    cpu.append(1_000 * (time.process_time() - before) / count)
                asyncio.run(check(url, count))
        low, high = (statistics.median(rates[kind]) for kind in ("floor", "ours"))
        print(
            f"{name:11} concurrency {concurrency:3}   floor {low:7,.0f}/s   claim+complete {high:7,.0f}/s   "
            f"ratio {high / low:5.2f}   CPU {statistics.median(cpu):.2f} ms a job"
        )


def main() -> None:
    """Run the comparison on both databases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'jobs.db'}"
        sql.upgrade(url)
        compare("SQLite", url, floor_sqlite, options)
    with postgresql(durable=True) as url:
        sql.upgrade(url)
        compare("PostgreSQL", url, floor_postgresql, options)


if __name__ == "__main__":
    main()
