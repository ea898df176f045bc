"""The Lambda path's budgets (docs: README, "Figures"), as ratios against floors measured in the same run.

    python benchmarks/lambda_path.py [--runs 7] [--jobs 400] [--flat-jobs 50000]

import    importing the scoring function's handler, against boto3 with its sqs, dynamodb and s3 clients
calls     AWS calls for a no-op job, counted in botocore
cpu       CPU of a no-op job beyond that of the very same boto3 calls made bare, against the embedded AWS
flat      resident memory of a warm handler between 10 % and all of --flat-jobs no-op jobs
ceiling   1,000 scores of 0.1 s, 100 at a time, in one batch, against the ceiling of 1,000 a second
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.canned_aws import CannedAws
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import NewJob
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.stores.dynamodb.table import create_table

CARD = "name: Card\nkey: card\nscores:\n- name: Greeting\n  id: 1\n  class: LangGraphScore\n  graph: []\n"
BATCH = 10
HANDLER = "lambda_functions.score_processing.handler"


class _Nowhere(io.TextIOBase):
    """Takes log lines and drops them: a terminal's speed is not ours."""

    def write(self, text: str) -> int:
        """Drop it."""
        return len(text)


class Context:
    """Lambda's context, with all the time in the world."""

    aws_request_id = "benchmark"

    def get_remaining_time_in_millis(self) -> int:
        """Five minutes."""
        return 300_000


def function_environment(queue: str = "http://127.0.0.1:1/000000000000/q") -> dict[str, str]:
    """Return what the function needs to start."""
    return {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PLEXUS_STORE": "dynamodb",
        "PLEXUS_ACCOUNT_KEY": "default",
        "PLEXUS_SCORING_MODE": "mock",
        "PLEXUS_RESPONSE_WORKER_QUEUE_URL": queue,
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": "attachments",
        "LOG_LEVEL": "INFO",
    }


def seconds_in_a_fresh_process(statements: str) -> float:
    """Return how long a new interpreter takes for `statements`."""
    code = f"import time; t = time.perf_counter(); {statements}; print(time.perf_counter() - t)"
    environment = os.environ | function_environment() | {"PLEXUS_SCORING_MODE": "real"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def imports(runs: int) -> None:
    """Compare the handler's import with that of bare boto3 and its clients."""
    floor = "import boto3; [boto3.client(name) for name in ('sqs', 'dynamodb', 's3')]"
    ours = f"import {HANDLER}"
    pairs = [
        (seconds_in_a_fresh_process(ours), seconds_in_a_fresh_process(floor)) for _ in range(runs)
    ]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"import   {a * 1000:.0f} ms, boto3 and clients {b * 1000:.0f} ms: ratio {ratio:.2f} (budget 1.5)"
    )


def events(ids: list[str]) -> list[dict[str, Any]]:
    """Return events as an event source mapping would send them."""
    return [
        {
            "Records": [
                {
                    "messageId": job_id,
                    "receiptHandle": job_id,
                    "body": json.dumps({"scoring_job_id": job_id}),
                    "attributes": {"SentTimestamp": str(int(time.time() * 1000))},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:requests",
                }
                for job_id in ids[start : start + BATCH]
            ]
        }
        for start in range(0, len(ids), BATCH)
    ]


def load_handler() -> Any:
    """Import the handler anew, with logs going nowhere: a terminal's speed is not ours."""
    for name in [name for name in sys.modules if name.startswith("lambda_functions")]:
        del sys.modules[name]
    module = importlib.import_module(HANDLER)
    import logging

    silent = _Nowhere()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(silent)
    return module


def invoke(module: Any, event: dict[str, Any]) -> None:
    """Invoke the handler, and check that it did every record. What it prints (EMF) goes nowhere."""
    with contextlib.redirect_stdout(_Nowhere()):
        answer = module.handler(event, Context())
    assert answer == {"batchItemFailures": []}, answer


async def prepare(application: Any, ids: list[str]) -> None:
    """Store the jobs and what they name."""
    await application.catalog.put_scorecard(load_scorecard(CARD))
    await application.catalog.put_item(Item(id="item", text="Hello, thanks for calling."))
    for job_id in ids:
        await application.jobs.create(
            NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item")
        )


def calls_and_cpu(jobs: int) -> None:
    """Count AWS calls, and compare the CPU with that of the same calls made bare."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedAws(log_file=Path(folder) / "log") as aws:
        os.environ |= aws.environment()
        queue = aws.client("sqs").create_queue(QueueName="responses")["QueueUrl"]
        aws.client("s3").create_bucket(Bucket="attachments")
        tables = ["ours", "bare"]
        for table in tables:
            create_table(aws.client("dynamodb"), table)
        os.environ |= function_environment(queue) | aws.environment()
        os.environ |= {"PLEXUS_JOBS_TABLE_NAME": "ours", "SCORECARD_CACHE_DIR": folder}
        module = load_handler()
        ids = [uuid.uuid4().hex for _ in range(jobs + 50)]
        module._container.run(prepare(module._application, ids))
        made: list[tuple[str, str, dict[str, Any]]] = []
        counted: Counter[str] = Counter()

        def record(params: dict[str, Any], model: Any, **_: Any) -> None:
            counted[f"{model.service_model.service_name}.{model.name}"] += 1
            made.append((model.service_model.service_name, model.name, dict(params)))

        clients = module._application.aws
        for event in events(ids[:50]):
            invoke(module, event)
        for client in (clients.dynamodb, clients.s3, clients.sqs):
            client.meta.events.register("provide-client-params", record)
        began, wall = time.process_time(), time.perf_counter()
        for event in events(ids[50:]):
            invoke(module, event)
        ours, wall = time.process_time() - began, time.perf_counter() - wall
        for client in (clients.dynamodb, clients.s3, clients.sqs):
            client.meta.events.unregister("provide-client-params", record)
        print(f"calls    {len(made) / jobs:.2f} AWS calls a no-op job (budget 5): {dict(counted)}")
        bare = replay(module, clients, made, ids)
        extra = (ours - bare) / jobs * 1000
        print(
            f"cpu      {ours / jobs * 1000:.2f} ms a job, the same calls bare {bare / jobs * 1000:.2f} ms:"
            f" {extra:.2f} ms of ours (budget 2); {jobs / wall:.0f} jobs a second against the emulator"
        )
        module._container.run(module._application.aclose())


def replay(
    module: Any, clients: Any, made: list[tuple[str, str, dict[str, Any]]], ids: list[str]
) -> float:
    """Make the same calls again, bare, against a second table in the same state; return the CPU seconds."""
    from botocore import xform_name

    from plexus_scoring.stores.dynamodb import connect

    stores = connect("bare", client=clients.dynamodb, executor=clients.executor)

    async def fill() -> None:
        await stores.catalog.put_scorecard(load_scorecard(CARD))
        await stores.catalog.put_item(Item(id="item", text="Hello, thanks for calling."))
        for job_id in ids:
            await stores.jobs.create(
                NewJob(id=job_id, scorecard="card", score="Greeting", item_id="item")
            )

    module._container.run(fill())
    bound = []
    for service, operation, params in made:
        text = json.dumps(params, default=lambda value: value.decode("latin-1"))
        copy = json.loads(text.replace('"TableName": "ours"', '"TableName": "bare"'))
        if "ClientRequestToken" in copy:
            copy["ClientRequestToken"] = uuid.uuid4().hex
        bound.append((getattr(getattr(clients, service), xform_name(operation)), copy))
    began = time.process_time()
    for method, params in bound:
        method(**params)
    return time.process_time() - began


def flat(jobs: int) -> None:
    """Watch the resident memory of one warm handler; AWS answers from a table in this process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= function_environment() | {"SCORECARD_CACHE_DIR": folder}
        os.environ.pop("AWS_ENDPOINT_URL", None)
        module = load_handler()
        canned = CannedAws(CARD)
        canned.attach(module._application.aws)
        at_tenth = 0.0
        for start in range(0, jobs, BATCH):
            ids = [f"job-{number}" for number in range(start, start + BATCH)]
            invoke(module, events(ids)[0])
            if start == jobs // 10 // BATCH * BATCH:
                at_tenth = resident_mib()
        assert canned.completed == jobs, (canned.completed, jobs)
        end = resident_mib()
        print(
            f"flat     {at_tenth:.1f} MiB after {jobs // 10} jobs, {end:.1f} MiB after {jobs}:"
            f" ratio {end / at_tenth:.3f}"
        )


def resident_mib() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def ceiling() -> None:
    """Score 1,000 items of 0.1 s in one batch, 100 at a time, with the stores in memory."""
    from plexus_scoring import bootstrap
    from plexus_scoring.model.result import ScoreOutcome
    from plexus_scoring.service import ScoringService
    from plexus_scoring.settings import Settings
    from plexus_scoring.telemetry.metrics import NoMetrics
    from plexus_scoring.transports.lambda_function import ScoringFunction
    from plexus_scoring.transports.sqs_messages import SqsMessages

    class TenthOfASecond:
        async def score(self, _: Any) -> ScoreOutcome:
            await asyncio.sleep(0.1)
            return ScoreOutcome(value="Yes")

        async def aclose(self) -> None: ...

    async def run(folder: str) -> float:
        parts = bootstrap.build(
            Settings(
                store="memory", mode="mock", attachments_dir=folder, scorecard_cache_dir=folder
            )
        )
        service = ScoringService(
            jobs=parts.jobs,
            catalog=parts.catalog,
            attachments=parts.attachments,
            responder=parts.responder,
            engine=TenthOfASecond(),
            clock=parts.clock,
        )
        function = ScoringFunction(
            messages=SqsMessages(
                handle=service.handle,
                attachments=parts.attachments,
                aws=parts.aws,
                clock=parts.clock,
                metrics=NoMetrics(),
            ),
            handle_oldest=service.handle_oldest,
            aws=parts.aws,
            clock=parts.clock,
            request_queue_url=None,
            concurrency=100,
        )
        ids = [f"job-{number}" for number in range(1_000)]
        await prepare(parts, ids)
        records = [record for event in events(ids) for record in event["Records"]]
        began = time.perf_counter()
        answer = await function.run({"Records": records}, remaining=300)
        elapsed = time.perf_counter() - began
        assert answer == {"batchItemFailures": []}
        await parts.aclose()
        return elapsed

    with tempfile.TemporaryDirectory() as folder:
        elapsed = min(asyncio.run(run(folder)) for _ in range(3))
    print(
        f"ceiling  1,000 scores of 0.1 s, 100 at a time: {elapsed:.3f} s, {1 / elapsed:.1%} (budget 95 %)"
    )


def main() -> None:
    """Run them all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="import, calls, flat, ceiling; default: all")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--flat-jobs", type=int, default=50_000)
    options = parser.parse_args()
    chosen = options.only or ["import", "ceiling", "calls", "flat"]
    if "import" in chosen:
        imports(options.runs)
    if "ceiling" in chosen:
        ceiling()
    if "calls" in chosen:
        calls_and_cpu(options.jobs)
    if "flat" in chosen:
        flat(options.flat_jobs)


if __name__ == "__main__":
    main()
