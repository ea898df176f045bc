"""A stage whose jobs, items, scorecards and results are in Plexus's own API."""

import dataclasses
import json

import pytest

from infrastructure.config.errors import ConfigError
from infrastructure.config.plexus import PlexusConfig
from infrastructure.config.stages import STAGES
from plexus_scoring.stores.plexus_api import documents
from plexus_scoring.stores.plexus_api.documents import Operation, versions

API = "arn:aws:appsync:eu-west-1:111122223333:apis/abcdefghijklmnopqrstuvwxyz"
URL = "https://plexus.example/graphql"
THEIR_BUCKET = "amplify-plexus-attachments"
SIGNED = PlexusConfig(api_url=URL, api_arn=API, attachments_bucket=THEIR_BUCKET)


def stage_with(plexus, **changes):
    changes = {"account_key": "acme", "attachments_expire_days": None} | changes
    return dataclasses.replace(STAGES["staging"], plexus=plexus, **changes)


@pytest.fixture(scope="module")
def signed(synthesise_stage):
    return synthesise_stage(stage_with(SIGNED))


def environments(template):
    for function in template.of_type("AWS::Lambda::Function").values():
        yield function["Properties"]["Environment"]["Variables"]


def statements(template, sid):
    return [
        statement
        for policy in template.of_type("AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement.get("Sid") == sid
    ]


def test_every_function_works_on_plexus_and_keeps_leases_in_the_table(signed):
    for variables in environments(signed):
        assert variables["PLEXUS_STORE"] == "plexus_api"
        assert variables["PLEXUS_LEASE_STORE"] == "dynamodb"
        assert variables["PLEXUS_API_URL"] == URL
        assert variables["PLEXUS_ACCOUNT_KEY"] == "acme"
        assert variables["PLEXUS_GRAPHQL_AUTH_MODE"] == "iam"
        assert variables["PLEXUS_API_REGION"] == "eu-west-1"


def test_a_role_may_call_what_the_store_calls_and_nothing_else(signed):
    language = pytest.importorskip("graphql", reason="NOT RUN: pip install graphql-core")
    operations = [o for o in vars(documents).values() if isinstance(o, Operation)]
    called = set()
    for operation in (*operations, versions(1)):
        for definition in language.parse(operation.render(frozenset())).definitions:
            if isinstance(definition, language.OperationDefinitionNode):
                kind = definition.operation.value.capitalize()
                called |= {
                    f"{API}/types/{kind}/fields/{field.name.value}"
                    for field in definition.selection_set.selections
                }
    granted = statements(signed, "PlexusApi")
    assert len(granted) == len(signed.of_type("AWS::Lambda::Function"))
    for statement in granted:
        assert statement["Action"] == "appsync:GraphQL"
        assert set(statement["Resource"]) == called


def test_traces_and_logs_go_to_the_bucket_of_plexus(signed):
    assert not signed.of_type("AWS::S3::Bucket")
    for variables in environments(signed):
        assert variables["AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"] == THEIR_BUCKET
    (attachments,) = statements(signed, "Attachments")
    assert json.dumps(attachments["Resource"]).count(f":s3:::{THEIR_BUCKET}/*") == 1


def test_with_a_key_nothing_is_signed_and_the_bucket_is_the_stages_own(synthesise_stage):
    keyed = synthesise_stage(stage_with(PlexusConfig(api_url=URL)))
    assert not statements(keyed, "PlexusApi")
    assert keyed.of_type("AWS::S3::Bucket")
    for variables in environments(keyed):
        assert "PLEXUS_GRAPHQL_AUTH_MODE" not in variables
        assert "PLEXUS_API_KEY" not in variables  # it is read from the secret


@pytest.mark.parametrize(
    ("plexus", "changes", "message"),
    [
        (PlexusConfig(api_url="http://plexus.example/graphql"), {}, r"plexus\.api_url is 'http:"),
        (PlexusConfig(api_url=URL, api_arn="abc"), {}, r"plexus\.api_arn is not the ARN of an Ap"),
        (
            PlexusConfig(api_url=URL, attachments_bucket="A"),
            {},
            r"plexus\.attachments_bucket: 'A' is no bucket's name",
        ),
        (SIGNED, {"account_key": "default"}, "account_key is 'default': with plexus, name the key"),
        (SIGNED, {"attachments_expire_days": 30}, "does not reach Plexus's bucket"),
    ],
)
def test_what_cannot_work_is_refused(plexus, changes, message):
    with pytest.raises(ConfigError, match=message):
        stage_with(plexus, **changes).check()
