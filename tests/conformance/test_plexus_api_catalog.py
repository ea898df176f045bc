"""The Catalog suite on Plexus's API, with a catalog of ours beside it."""

import pytest

from plexus_scoring.stores.memory import MemoryCheckpoints
from tests.conformance.conftest import Stores
from tests.conformance.test_catalog import *  # noqa: F403  the suite itself
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import connect

# Histories of versions are Plexus's own business.
del test_the_history_of_versions_is_kept  # noqa: F821  imported with the suite


@pytest.fixture
async def stores(clock, tmp_path):
    with GraphQLServer(now=clock.now, any_account=True) as server:
        opened = connect(server, tmp_path, clock, account=None)
        yield Stores("plexus_api", opened.jobs, opened.catalog, MemoryCheckpoints())
        await opened.aclose()
