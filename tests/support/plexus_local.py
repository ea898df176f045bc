"""A Plexus on this machine to try the service on: its API with one account, scorecard and PENDING job, and an AWS.

    python -m tests.support.plexus_local ENV_FILE

Writes the function's variables to ENV_FILE once all is up, and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
from pathlib import Path

from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.stores.dynamodb import create_table
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account

BUCKET, TABLE, QUEUE = "attachments", "plexus-leases", "responses"


def environment(api: GraphQLServer, aws: EmbeddedAws, folder: Path) -> dict[str, str]:
    """Make queue, bucket and lease table, and return what the function needs to know."""
    queue = aws.client("sqs").create_queue(QueueName=QUEUE)["QueueUrl"]
    aws.client("s3").create_bucket(Bucket=BUCKET)
    create_table(aws.client("dynamodb"), TABLE)
    return {
        **aws.environment(),
        **api.environment(),
        "PLEXUS_STORE": "plexus_api",
        "PLEXUS_LEASE_STORE": "dynamodb",
        "PLEXUS_ACCOUNT_KEY": "acme",
        "PLEXUS_JOBS_TABLE_NAME": TABLE,
        "PLEXUS_RESPONSE_WORKER_QUEUE_URL": queue,
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": BUCKET,
        "SCORECARD_CACHE_DIR": str(folder / "cache"),
    }


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("env_file", type=Path)
    options = parser.parse_args()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedAws(log_file=Path(name) / "aws.log") as aws,
        GraphQLServer() as api,
    ):
        job = Account(api).add_job()
        variables = environment(api, aws, Path(name))
        lines = [f"export {key}='{value}'" for key, value in variables.items()]
        whole = options.env_file.with_suffix(".new")
        whole.write_text("\n".join(lines) + "\n", encoding="utf-8")
        whole.replace(options.env_file)
        sys.stderr.write(f"{job} is PENDING in {api.url}; variables in {options.env_file}\n")
        done.wait()
        with contextlib.suppress(FileNotFoundError):
            options.env_file.unlink()


if __name__ == "__main__":
    main()
