"""Every store, each behind the same fixtures. A store is done when the whole suite passes on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from moto import mock_aws

from plexus_scoring.attachments.filesystem import FilesystemAttachments
from plexus_scoring.attachments.s3 import S3Attachments
from plexus_scoring.ports import AttachmentStore, Catalog, Checkpoints, JobStore
from plexus_scoring.stores import dynamodb, sql
from plexus_scoring.stores.memory import MemoryCatalog, MemoryCheckpoints, MemoryJobStore
from plexus_scoring.stores.sql import schema
from tests.support.services import pgbouncer, postgresql
from tests.support.stores import FakeClock


@dataclass(frozen=True)
class Stores:
    """One adapter's stores over the same data."""

    name: str
    jobs: JobStore
    catalog: Catalog
    checkpoints: Checkpoints


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    """An in-process AWS; returns a maker of clients.

    Not for the session: while moto runs it catches every boto3 client of the process, also those of other tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield lambda service: boto3.client(
                service, region_name="eu-central-1", config=Config(retries={"max_attempts": 1})
            )


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    # moto evaluates a condition and writes without a lock; one thread makes each call atomic, as in AWS.
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def dynamodb_client(aws: Any) -> Any:
    return aws("dynamodb")


@pytest.fixture(scope="module")
def s3_client(aws: Any) -> Any:
    return aws("s3")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    with postgresql() as url:
        sql.upgrade(url)
        yield url


@pytest.fixture(scope="session")
def pgbouncer_url(postgresql_url: str) -> Iterator[str]:
    with pgbouncer(postgresql_url) as url:
        yield url


def empty_database(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> str:
    """Return the URL of a migrated, empty database."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path}/jobs.db"
        sql.upgrade(url)
        return url
    url: str = request.getfixturevalue(f"{backend}_url")
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        names = ", ".join(table.name for table in schema.metadata.sorted_tables)
        connection.execute(f"TRUNCATE {names}")
    return url


STORES = ["memory", "dynamodb", "sqlite", "postgresql"]
# Every transition; `test_job_store_processes` has its own way through it.
THROUGH_PGBOUNCER = {"test_job_store"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if hasattr(metafunc.module, "stores"):  # it runs a suite on one store of its own
        return
    if "stores" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        through = ["pgbouncer"] if module in THROUGH_PGBOUNCER else []
        metafunc.parametrize("stores", [*STORES, *through], indirect=True)


@pytest.fixture
async def stores(
    request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Stores]:
    match request.param:
        case "memory":
            yield Stores(
                "memory", MemoryJobStore(clock=clock), MemoryCatalog(), MemoryCheckpoints()
            )
        case "dynamodb":
            client = request.getfixturevalue("dynamodb_client")
            name = f"jobs-{uuid.uuid4()}"
            dynamodb.create_table(client, name)
            opened = dynamodb.connect(
                name,
                client=client,
                executor=request.getfixturevalue("threads"),
                overflow=FilesystemAttachments(tmp_path / "overflow"),
                clock=clock,
            )
            yield Stores("dynamodb", opened.jobs, opened.catalog, opened.checkpoints)
            client.delete_table(TableName=name)
        case backend:
            url = empty_database(request, backend, tmp_path)
            opened = sql.connect(url, clock=clock)
            yield Stores(backend, opened.jobs, opened.catalog, opened.checkpoints)
            await opened.aclose()


@pytest.fixture
def jobs(stores: Stores) -> JobStore:
    return stores.jobs


@pytest.fixture(params=["filesystem", "s3"])
def attachments(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AttachmentStore]:
    """Our own bucket; a second one, ``elsewhere``, holds ``item.txt``."""
    if request.param == "filesystem":
        foreign = tmp_path / "elsewhere" / "deep" / "item.txt"
        foreign.parent.mkdir(parents=True)
        foreign.write_bytes(b"foreign")
        yield FilesystemAttachments(tmp_path, bucket="own")
        return
    client = request.getfixturevalue("s3_client")
    for bucket in ("own", "elsewhere"):
        client.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    client.put_object(Bucket="elsewhere", Key="deep/item.txt", Body=b"foreign")
    yield S3Attachments(client, request.getfixturevalue("threads"), "own")
    _empty(client, "own", "elsewhere")


def _empty(client: Any, *buckets: str) -> None:
    for bucket in buckets:
        for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
        client.delete_bucket(Bucket=bucket)
