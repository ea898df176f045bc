"""Round trips of a warm job whose item, scorecard and result live in Plexus, counted against real local servers.

    python -m benchmarks.plexus_api [--jobs 50]

GraphQL calls and connections are counted by a server that executes the schema, AWS calls in botocore, against the
embedded AWS; all through the Lambda handler, with ten records an event (as the event source mapping is set up) and
with one, where there is nothing to share a call with. Upstream's worker makes 17 and 19 for such a job.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.lambda_path import BATCH, events, function_environment, invoke, load_handler
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.stores.dynamodb.table import create_table
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account

WARM_UP = 10
UPSTREAM = {"GraphQL": 17, "AWS": 19}
BUDGET = 4


def count(jobs: int, leases: str, records: int) -> None:
    """Score jobs of Plexus's, so many records an event, and print what a warm one took."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedAws(log_file=Path(folder) / "log") as aws,
        GraphQLServer() as api,
    ):
        account = Account(api)
        names = [f"job-{number}" for number in range(WARM_UP + jobs)]
        for name in names:
            account.add_job(name, item_id=f"item-of-{name}")
        queue = aws.client("sqs").create_queue(QueueName="responses")["QueueUrl"]
        aws.client("s3").create_bucket(Bucket="attachments")
        create_table(aws.client("dynamodb"), "leases")
        os.environ |= function_environment(queue) | aws.environment() | api.environment()
        os.environ |= {
            "PLEXUS_STORE": "plexus_api",
            "PLEXUS_LEASE_STORE": leases,
            "PLEXUS_ACCOUNT_KEY": "acme",
            "PLEXUS_SCORING_MODE": "real",
            "PLEXUS_SCORING_ENGINE": "portable",
            "PLEXUS_JOBS_TABLE_NAME": "leases",
            "PLEXUS_DATABASE_URL": f"sqlite:///{folder}/leases.db",
            "SCORECARD_CACHE_DIR": folder,
        }
        if leases == "sql":
            from plexus_scoring.stores import sql

            sql.upgrade(os.environ["PLEXUS_DATABASE_URL"])
        module = load_handler()
        for event in events(names[:WARM_UP]):
            invoke(module, event)
        made: Counter[str] = Counter()

        def record(model: Any, **_: Any) -> None:
            made[f"{model.service_model.service_name}.{model.name}"] += 1

        clients = module._application.aws
        for client in (clients.dynamodb, clients.s3, clients.sqs):
            client.meta.events.register("provide-client-params", record)
        api.forget()
        before = api.connections
        began = time.perf_counter()
        measured = names[WARM_UP:]
        for start in range(0, jobs, records):
            for event in events(measured[start : start + records]):
                invoke(module, event)
        elapsed = time.perf_counter() - began
        done = Counter(str(job["status"]) for job in api.all("ScoringJob"))
        assert done == {"COMPLETED": len(names)}, done
        assert len(api.all("ScoreResult")) == len(names)
        print(
            f"leases in {leases}, {records} a time: {jobs} warm jobs, {jobs / elapsed:.0f} a second"
        )
        report("GraphQL", api.counted(), jobs)
        report("AWS", made, jobs)
        print(
            f"  connections to the API: {api.connections - before} new ones for these {jobs} jobs,"
            f" {api.connections} kept alive since the start"
        )
        module._container.run(module._application.aclose())


def report(kind: str, made: Counter[str], jobs: int) -> None:
    """Print calls a job, in all and by operation, beside the budget."""
    calls = made.total() / jobs
    verdict = "met" if calls <= BUDGET else f"NOT met, {calls - BUDGET:.2f} more"
    each = ", ".join(f"{name} {times / jobs:.2f}" for name, times in made.most_common())
    print(
        f"  {kind:8} {calls:.2f} calls a job (budget {BUDGET}: {verdict}; upstream {UPSTREAM[kind]}): {each}"
    )


def main() -> None:
    """Count with leases in either store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50)
    options = parser.parse_args()
    for leases in ("dynamodb", "sql"):
        for records in (BATCH, 1):
            count(options.jobs, leases, records)


if __name__ == "__main__":
    main()
