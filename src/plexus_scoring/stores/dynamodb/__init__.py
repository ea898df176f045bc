"""Jobs, results, items, scorecards and checkpoints in one DynamoDB table."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plexus_scoring.ports import AttachmentStore, Clock
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.dynamodb.calls import Table
from plexus_scoring.stores.dynamodb.catalog import DynamoDBCatalog
from plexus_scoring.stores.dynamodb.checkpoints import DynamoDBCheckpoints
from plexus_scoring.stores.dynamodb.jobs import DynamoDBJobStore
from plexus_scoring.stores.dynamodb.table import create_table, table_definition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "DynamoDBCatalog",
    "DynamoDBCheckpoints",
    "DynamoDBJobStore",
    "DynamoDBStores",
    "connect",
    "create_table",
    "table_definition",
]


@dataclass(frozen=True)
class DynamoDBStores:
    """The table's three faces, and the threads if they are its own."""

    jobs: DynamoDBJobStore
    catalog: DynamoDBCatalog
    checkpoints: DynamoDBCheckpoints
    own_executor: Executor | None = None

    async def aclose(self) -> None:
        """Stop the threads that `connect` started. Safe to call twice."""
        if self.own_executor is not None:
            self.own_executor.shutdown(wait=False, cancel_futures=True)


def connect(
    table_name: str,
    *,
    client: DynamoDBClient | None = None,
    executor: Executor | None = None,
    overflow: AttachmentStore | None = None,
    clock: Clock | None = None,
    retention_seconds: float | None = None,
    threads: int = 16,
) -> DynamoDBStores:
    """Return the stores on one table.

    Args:
        table_name: The table.
        client: A DynamoDB client; None makes one from the environment, with a connection for each thread.
        executor: Threads that may call it; None starts `threads` of our own.
        overflow: Where bodies above DynamoDB's limits go.
        clock: Time; None is the machine's.
        retention_seconds: How long ended jobs and results are kept; None: for ever.
        threads: How many calls may be under way at once, where no executor is given.
    """
    own = None
    if executor is None:
        executor = own = ThreadPoolExecutor(threads, "dynamodb")
    clock = clock or SystemClock()
    calls = Table(client or _new_client(threads), executor, table_name, clock=clock)
    return DynamoDBStores(
        jobs=DynamoDBJobStore(
            calls, clock=clock, overflow=overflow, retention_seconds=retention_seconds
        ),
        catalog=DynamoDBCatalog(calls, clock=clock, overflow=overflow),
        checkpoints=DynamoDBCheckpoints(calls, clock=clock, overflow=overflow),
        own_executor=own,
    )


def _new_client(connections: int) -> DynamoDBClient:
    import boto3  # noqa: PLC0415  whoever brings a client need not pay for the import
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "dynamodb",
        config=Config(
            connect_timeout=3,
            read_timeout=10,
            max_pool_connections=connections,
            retries={"mode": "standard", "max_attempts": 4},
        ),
    )
