"""Runs the demo: deploy, store, send, wait, and look at what is left."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from plexus_scoring import bootstrap
from plexus_scoring.aws import Aws
from plexus_scoring.local.demo.audit import Audit, Stored, audit, scored_lines
from plexus_scoring.local.demo.examples import Examples, load_examples
from plexus_scoring.local.demo.gateway import Gateway
from plexus_scoring.local.demo.plan import ACCOUNT, FLAKY_ITEM, Entry, bucket_item, make_plan
from plexus_scoring.local.demo.traffic import Traffic, expected
from plexus_scoring.local.stack import (
    BUCKET,
    SCORE_PROCESSING,
    TABLE,
    LocalDeployment,
    StackOptions,
)
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.settings import Settings
from plexus_scoring.stores.dynamodb.rows import RESULT
from plexus_scoring.stores.dynamodb.table import SORT_KEY

_GIVE_UP_SECONDS = 60.0
_AT_ONCE = 16


class Progress(Protocol):
    """What the demo tells whoever watches."""

    def stage(self, text: str, total: int | None = None) -> None:
        """Begin a stage of `total` steps."""
        ...

    def step(self, done: int) -> None:
        """Say how many steps are done."""
        ...


@dataclass(frozen=True, kw_only=True)
class DemoRun:
    """What a run gave. Times are seconds."""

    audit: Audit
    real_model: bool
    start_seconds: float
    work_seconds: float
    processes: int
    model_requests: int
    began_at: float
    stages: dict[str, float] = field(default_factory=dict)


class _DeploymentAws(Aws):
    """Clients of a deployment, whatever profile the caller's own environment names."""

    def __init__(self, deployment: LocalDeployment, threads: int) -> None:
        super().__init__(threads=threads)
        self._deployment = deployment
        self._connections = threads

    def _client(self, service: str) -> Any:
        return self._deployment.aws.client(service, max_pool_connections=self._connections)


@asynccontextmanager
async def application_of(deployment: LocalDeployment) -> AsyncIterator[bootstrap.Application]:
    """Open a process's parts on the stores of a deployment."""
    environ = deployment.environment()
    app = bootstrap.build(
        Settings.from_environment(environ),
        environ=environ,
        aws=_DeploymentAws(deployment, _AT_ONCE),
    )
    try:
        yield app
    finally:
        await app.aclose()


def run_demo(folder: Path, progress: Progress, examples: Examples | None = None) -> DemoRun:
    """Run the demo from nothing to the proof.

    Args:
        folder: Where logs go.
        progress: Told how it goes.
        examples: What to score; default: the folder ``examples``.

    Raises:
        ConfigurationError: the examples, a function or ministack are missing.
        StoreUnavailable: the embedded AWS did not start, or work came to a halt.
    """
    examples = examples or load_examples()
    began = time.monotonic()
    progress.stage("Starting the embedded AWS")
    fail_once = next(item.text for item in examples.items if item.id == FLAKY_ITEM) or ""
    with Gateway(fail_once[:200], os.environ) as gateway:
        options = StackOptions(
            environment=gateway.environment() | {"PLEXUS_RETRY_BASE_SECONDS": "1"}
        )
        with LocalDeployment(folder, options) as deployment:
            started = time.monotonic()
            plan = make_plan(examples, bucket=BUCKET, real_model=gateway.real)
            asyncio.run(_store(deployment, examples, plan, progress))
            traffic = Traffic(deployment, give_up=_GIVE_UP_SECONDS)
            sent = time.monotonic()
            left = _drive(traffic, plan, progress)
            worked = time.monotonic() - sent
            progress.stage("Reading what the stores hold")
            log_file = folder / f"{SCORE_PROCESSING}.log"
            stored = asyncio.run(_read_stores(deployment, plan, left, log_file))
            return DemoRun(
                audit=audit(plan, stored, traffic.outbox),
                real_model=gateway.real,
                start_seconds=started - began,
                work_seconds=worked,
                processes=deployment.functions.cold_starts(SCORE_PROCESSING),
                model_requests=gateway.requests,
                began_at=time.time(),
            )


async def _store(
    deployment: LocalDeployment, examples: Examples, plan: list[Entry], progress: Progress
) -> None:
    """Put scorecards, items and jobs where the service finds them."""
    item, text = bucket_item(BUCKET)
    jobs = [entry.job for entry in plan if entry.job is not None]
    items = [*examples.items, item]
    progress.stage(f"Storing {len(items)} items and {len(jobs)} jobs", len(items) + len(jobs))
    done = 0

    async def each(work: Iterable[Callable[[], Awaitable[Any]]]) -> None:
        bound = asyncio.Semaphore(_AT_ONCE)

        async def one(step: Callable[[], Awaitable[Any]]) -> None:
            nonlocal done
            async with bound:
                await step()
            done += 1
            progress.step(done)

        async with asyncio.TaskGroup() as group:
            for step in work:
                group.create_task(one(step))

    async with application_of(deployment) as app:
        for card in examples.scorecards:
            await app.catalog.put_scorecard(card)
        if item.s3 is not None:
            await app.attachments.put(item.s3.key, text)
        await each([lambda one=one: app.catalog.put_item(one) for one in items])  # type: ignore[misc]
        await each([lambda job=job: app.jobs.create(job) for job in jobs])  # type: ignore[misc]


def _drive(traffic: Traffic, plan: list[Entry], progress: Progress) -> int:
    """Send everything, wait for the answers, then deliver some messages again; return what is left."""
    counts = expected(plan)
    again = [entry.body for entry in plan for _ in range(entry.deliveries - 1)]
    total = counts["responses"] + counts["dead_letters"] + len(again)
    progress.stage(f"Scoring {len(plan)} messages", total)
    traffic.send(entry.body for entry in plan)
    traffic.gather(
        responses=counts["responses"],
        dead_letters=counts["dead_letters"],
        on_progress=progress.step,
    )
    # A message that SQS delivers again after its work was done, say because the delete was lost.
    traffic.send(again)
    traffic.gather(
        responses=counts["responses"] + len(again),
        dead_letters=counts["dead_letters"],
        on_progress=progress.step,
    )
    return traffic.drain()


async def _read_stores(
    deployment: LocalDeployment, plan: list[Entry], left: int, log_file: Path
) -> Stored:
    """Read jobs by id, and result rows and objects as they lie there."""
    dynamodb, s3 = deployment.aws.client("dynamodb"), deployment.aws.client("s3")
    rows = [
        row
        for page in dynamodb.get_paginator("scan").paginate(TableName=TABLE)
        for row in page["Items"]
        if row[SORT_KEY]["S"] == RESULT
    ]
    objects = [
        entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        for entry in page.get("Contents", [])
    ]
    results: dict[str, list[ScoreResult]] = {}
    async with application_of(deployment) as app:
        for row in rows:
            key = JobKey(ACCOUNT, row["job_id"]["S"])
            result = await app.jobs.result(result_id_of(key), account=ACCOUNT)
            if result is not None:
                results.setdefault(key.id, []).append(result)
        found = [await app.jobs.get(entry.job.key) for entry in plan if entry.job is not None]
    return Stored(
        jobs={job.id: job for job in found if job is not None},
        results=results,
        attachments=frozenset(objects),
        scored=scored_lines(log_file),
        left_on_queue=left,
    )
