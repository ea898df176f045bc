"""What the settings choose."""

import sys

import pytest

from plexus_scoring import bootstrap
from plexus_scoring.engines.auto import AutoEngine
from plexus_scoring.engines.plexus.engine import PlexusEngine
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings
from plexus_scoring.stores.memory import MemoryJobStore
from plexus_scoring.stores.plexus_api import IamSignature, PlexusApiJobStore
from plexus_scoring.stores.plexus_api.handover import TracingAttachments

API = {
    "store": "plexus_api",
    "lease_store": "memory",
    "api_url": "http://127.0.0.1:1/graphql",
    "api_key": "k",
    "account_key": "acme",
}


async def test_jobs_are_plexuss_and_leases_ours(tmp_path):
    built = bootstrap.build(Settings(**API, attachments_dir=str(tmp_path)))
    assert isinstance(built.jobs, PlexusApiJobStore)
    assert isinstance(built.jobs._leases, MemoryJobStore)
    assert isinstance(built.attachments, TracingAttachments)
    await built.aclose()


@pytest.mark.parametrize("missing", ["api_url", "api_key", "account_key"])
def test_what_is_missing_is_named(missing):
    with pytest.raises(ConfigurationError, match=f"PLEXUS_{missing.upper()}"):
        bootstrap.build(Settings(**{**API, missing: None}))


def test_a_missing_extra_is_named(monkeypatch):
    for name in [
        name for name in sys.modules if name.startswith("plexus_scoring.stores.plexus_api")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.delattr("plexus_scoring.stores.plexus_api", raising=False)
    with pytest.raises(ConfigurationError, match=r"httpx2.*plexus-scoring\[plexus-api\]"):
        bootstrap.build(Settings(**API))


async def test_the_engines():
    python = sys.executable
    for settings, kind in (
        (Settings(engine="portable", plexus_python=python), PortableEngine),
        (Settings(engine="auto", plexus_python=python), AutoEngine),
        (Settings(engine="plexus", plexus_python=python), PlexusEngine),
    ):
        engine = bootstrap.build_engine(settings, {})
        assert isinstance(engine, kind)
        await engine.aclose()


def test_plexus_that_is_not_installed_is_said_at_the_start():
    with pytest.raises(ConfigurationError, match="PLEXUS_PYTHON is not set"):
        bootstrap.build(Settings(engine="plexus", store="memory"))


def test_another_way_to_sign_calls_is_refused():
    with pytest.raises(ConfigurationError, match="PLEXUS_GRAPHQL_AUTH_MODE"):
        Settings.from_environment({"PLEXUS_GRAPHQL_AUTH_MODE": "cognito"})


async def test_signed_calls_need_no_key(tmp_path):
    settings = {**API, "api_key": None, "graphql_auth_mode": "iam"}
    built = bootstrap.build(Settings(**settings, attachments_dir=str(tmp_path)))
    assert isinstance(built.jobs._client._signer, IamSignature)
    await built.aclose()
