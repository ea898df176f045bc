"""Histories of Plexus's jobs with their leases in DynamoDB."""

import pytest

from plexus_scoring.attachments.filesystem import FilesystemAttachments
from plexus_scoring.stores import dynamodb
from plexus_scoring.stores.memory import MemoryCheckpoints
from tests.conformance import test_job_store_histories as histories
from tests.conformance.conftest import Stores
from tests.conformance.test_job_store_histories import *  # noqa: F403  the suite itself
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import connect

histories.EXAMPLES["plexus_api over dynamodb"] = 2


@pytest.fixture
async def stores(clock, tmp_path, dynamodb_client, threads):
    dynamodb.create_table(dynamodb_client, "leases-of-plexus")
    leases = dynamodb.connect(
        "leases-of-plexus",
        client=dynamodb_client,
        executor=threads,
        overflow=FilesystemAttachments(tmp_path / "overflow"),
        clock=clock,
    )
    with GraphQLServer(now=clock.now, any_account=True) as server:
        opened = connect(server, tmp_path, clock, account=None, leases=leases.jobs)
        yield Stores("plexus_api over dynamodb", opened.jobs, opened.catalog, MemoryCheckpoints())
        await opened.aclose()
    dynamodb_client.delete_table(TableName="leases-of-plexus")
