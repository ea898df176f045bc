"""Calls to Plexus's API with AWS credentials: the server makes each signature again, with botocore's own signer."""

import hmac

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from plexus_scoring.model.errors import ConfigurationError, StoreUnavailable
from plexus_scoring.model.job import Claimed
from plexus_scoring.stores.plexus_api.signing import IamSignature, region_of
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account, connect
from tests.support.stores import key

KEY = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "a/session+token==",
}


class Gate:
    """Admits requests that are signed with KEY for AppSync in eu-west-1."""

    def __init__(self):
        self.seen = []

    def __call__(self, headers, body):
        self.seen.append((dict(headers), body))
        algorithm, _, rest = headers.get("authorization", "").partition(" ")
        if algorithm != "AWS4-HMAC-SHA256":
            return False
        parts = dict(part.split("=", 1) for part in rest.split(", "))
        signer = SigV4Auth(Credentials(*KEY.values()), "appsync", "eu-west-1")
        signed = {name: headers[name] for name in parts["SignedHeaders"].split(";")}
        request = AWSRequest("POST", f"http://{headers['host']}/graphql", headers=signed, data=body)
        request.context["timestamp"] = headers["x-amz-date"]
        canonical = signer.canonical_request(request)
        wanted = signer.signature(signer.string_to_sign(request, canonical), request)
        scope = f"{KEY['AWS_ACCESS_KEY_ID']}/{signer.credential_scope(request)}"
        return hmac.compare_digest(wanted, parts["Signature"]) and parts["Credential"] == scope


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def server(gate, clock):
    with GraphQLServer(now=clock.now, accepts=gate) as running:
        yield running


@pytest.fixture
def credentials(monkeypatch):
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return monkeypatch


async def test_a_signed_call_is_admitted(server, gate, clock, credentials, tmp_path):
    Account(server).add_job()
    stores = connect(server, tmp_path, clock, key=IamSignature("eu-west-1"))
    answer = await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    await stores.aclose()
    assert isinstance(answer, Claimed)
    headers, _ = gate.seen[0]
    assert "x-api-key" not in headers
    assert headers["x-amz-security-token"] == KEY["AWS_SESSION_TOKEN"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token", "content-type"} <= set(signed)


@pytest.mark.parametrize(
    ("region", "secret"), [("us-east-1", KEY["AWS_SECRET_ACCESS_KEY"]), ("eu-west-1", "another")]
)
async def test_another_region_or_secret_is_refused(
    server, clock, credentials, tmp_path, region, secret
):
    credentials.setenv("AWS_SECRET_ACCESS_KEY", secret)
    Account(server).add_job()
    stores = connect(server, tmp_path, clock, key=IamSignature(region))
    with pytest.raises(StoreUnavailable, match="PLEXUS_GRAPHQL_AUTH_MODE=iam, the role"):
        await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60)
    await stores.aclose()


async def test_each_try_is_signed_by_itself(server, gate, clock, credentials, tmp_path):
    Account(server).add_job()
    server.fail(503)
    stores = connect(server, tmp_path, clock, key=IamSignature("eu-west-1"))
    assert isinstance(await stores.jobs.claim(key("job-1", "acme"), lease_seconds=60), Claimed)
    await stores.aclose()


async def test_without_credentials_it_says_so(server, clock, tmp_path, monkeypatch):
    for name in (*KEY, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    stores = connect(server, tmp_path, clock, key=IamSignature("eu-west-1"))
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        await stores.jobs.check()
    await stores.aclose()


async def test_an_address_without_a_region_needs_one(server, clock, credentials, tmp_path):
    stores = connect(server, tmp_path, clock, key=IamSignature())
    with pytest.raises(ConfigurationError, match="PLEXUS_API_REGION"):
        await stores.jobs.check()
    await stores.aclose()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://abc.appsync-api.eu-west-1.amazonaws.com/graphql", "eu-west-1"),
        ("https://api.example.com/graphql", None),
        ("https://appsync-api", None),
        ("no address", None),
    ],
)
def test_the_region_in_an_address(url, region):
    assert region_of(url) == region
