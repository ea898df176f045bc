"""Plexus's API and the service in front of it."""

from dataclasses import dataclass

import pytest

from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.messages import ScoringRequest
from plexus_scoring.service import Policy, ScoringService
from plexus_scoring.stores.cache import CachedCatalog
from plexus_scoring.stores.memory import MemoryJobStore
from plexus_scoring.stores.plexus_api import PlexusApiStores
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account, connect
from tests.support.portable import ScriptedModel
from tests.support.service import RecordingResponder
from tests.support.stores import FakeClock


@dataclass
class World:
    """A server with an account, stores over it, and a service on them."""

    server: GraphQLServer
    account: Account
    stores: PlexusApiStores
    leases: MemoryJobStore
    service: ScoringService
    responder: RecordingResponder
    clock: FakeClock

    async def handle(self, job_id="job-1"):
        request = ScoringRequest(scoring_job_id=job_id, request_id=job_id, account="acme")
        return await self.service.handle(request)

    def job(self, job_id="job-1"):
        return self.server.get("ScoringJob", job_id)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server(clock):
    with GraphQLServer(now=clock.now) as running:
        yield running


@pytest.fixture
def account(server):
    return Account(server)


@pytest.fixture
async def world(server, account, clock, tmp_path):
    leases = MemoryJobStore(clock=clock)
    stores = connect(server, tmp_path, clock, leases=leases, cache_directory=tmp_path / "cache")
    responder = RecordingResponder()
    service = ScoringService(
        jobs=stores.jobs,
        catalog=CachedCatalog(stores.catalog, clock=clock, ttl=60),
        attachments=stores.attachments,
        responder=responder,
        engine=PortableEngine(ScriptedModel()),
        clock=clock,
        policy=Policy(lease_seconds=60, max_attempts=3, reuse_results=False),
    )
    yield World(server, account, stores, leases, service, responder, clock)
    await stores.aclose()
