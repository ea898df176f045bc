"""Round trips of a warm job whose item, scorecard and result live in Plexus, counted against real local servers.

    python -m benchmarks.plexus_api [--jobs 50]

GraphQL calls and connections are counted by a server that executes the schema, AWS calls in botocore, against the
embedded AWS; through the Lambda handler, ten records an event. Upstream's worker makes 17 and 19 for such a job.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.lambda_path import events, function_environment, invoke, load_handler
from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.stores.dynamodb.table import create_table
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account

WARM_UP = 10
UPSTREAM = {"GraphQL": 17, "AWS": 19}


def count(jobs: int, leases: str) -> None:
    """Score jobs of Plexus's, and print what a warm one took."""
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
        began = time.perf_counter()
        for event in events(names[WARM_UP:]):
            invoke(module, event)
        elapsed = time.perf_counter() - began
        done = Counter(str(job["status"]) for job in api.all("ScoringJob"))
        assert done == {"COMPLETED": len(names)}, done
        assert len(api.all("ScoreResult")) == len(names)
        graphql, calls = sum(api.counted().values()) / jobs, made.total() / jobs
        print(
            f"leases in {leases:9} {graphql:.2f} GraphQL calls a warm job (budget 4, upstream {UPSTREAM['GraphQL']}):"
            f" {dict(api.counted())}\n"
            f"{'':19} {calls:.2f} AWS calls a warm job (budget 4, upstream {UPSTREAM['AWS']}): {dict(made)}\n"
            f"{'':19} {api.connections} connections for {len(names)} jobs, ten at a time; {jobs / elapsed:.0f} jobs/s"
        )
        module._container.run(module._application.aclose())


def main() -> None:
    """Count with leases in either store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50)
    options = parser.parse_args()
    for leases in ("dynamodb", "sql"):
        count(options.jobs, leases)


if __name__ == "__main__":
    main()
