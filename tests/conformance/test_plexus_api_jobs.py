"""The JobStore suite on Plexus's API: every test of the port, against a server that executes GraphQL."""

import pytest

from plexus_scoring.stores.memory import MemoryCheckpoints
from tests.conformance import test_job_store_histories as histories
from tests.conformance.conftest import Stores
from tests.conformance.test_job_store import *  # noqa: F403  the suite itself
from tests.conformance.test_job_store_histories import *  # noqa: F403
from tests.conformance.test_job_store_listings import *  # noqa: F403
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import connect

histories.EXAMPLES["plexus_api"] = 6


@pytest.fixture
async def stores(clock, tmp_path):
    """Leases lie in memory; test_plexus_api_leases.py has them in DynamoDB."""
    with GraphQLServer(now=clock.now, any_account=True) as server:
        opened = connect(server, tmp_path, clock, account=None)
        yield Stores("plexus_api", opened.jobs, opened.catalog, MemoryCheckpoints())
        await opened.aclose()
