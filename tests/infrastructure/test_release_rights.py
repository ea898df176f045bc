"""Whoever releases images may do what the release does: each of its AWS calls, against the synthesised policies."""

import fnmatch
import json

import boto3
import pytest
from moto import mock_aws

from infrastructure.config.stages import STAGES
from infrastructure.images import release
from tests.support.registry import RecordingEngine, push_to

COMMIT = "c" * 40
REPOSITORIES = ("lambda-base", "lambda-score-processing", "lambda-sweeper", "scoring-worker")


@pytest.fixture(scope="module")
def calls():
    """Return (action, resource) of every call of two releases, the second of which tidies up."""
    made = []

    def record(params, model, **_):
        service = model.service_model.endpoint_prefix.removeprefix("api.")
        if service == "ecr":
            names = params.get("repositoryNames") or [params["repositoryName"]]
            resources = [f"repository/{name}" for name in names]
        else:
            names = params.get("Names") or [params.get("Name") or params["Path"]]
            resources = [f"parameter/{name.strip('/')}" for name in names]
        made.extend((f"{service}:{model.name}", resource) for resource in resources)

    with pytest.MonkeyPatch.context() as monkeypatch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setattr(release, "KEPT_PARAMETERS", 1)
        pusher, ecr, ssm = boto3.client("ecr"), boto3.client("ecr"), boto3.client("ssm")
        for name in REPOSITORIES:
            pusher.create_repository(repositoryName=f"plexus/{name}")
        for client in (ecr, ssm):
            client.meta.events.register("provide-client-params.*", record)
        for commit in ("b" * 40, COMMIT):
            released = release.Release(
                config=STAGES["staging"],
                commit=commit,
                variant="slim",
                ecr=ecr,
                ssm=ssm,
                engine=RecordingEngine(name="docker"),
                push=push_to(pusher),
            )
            released.base()
            released.functions(["score_processing", "sweeper"])
            released.worker()
    return sorted(set(made))


def statements(template, part):
    for name, policy in template.of_type("AWS::IAM::Policy").items():
        if part in name:
            yield from policy["Properties"]["PolicyDocument"]["Statement"]


def allows(statement, action, resource):
    actions = statement["Action"]
    resources = statement["Resource"]
    actions = actions if isinstance(actions, list) else [actions]
    resources = resources if isinstance(resources, list) else [resources]
    patterns = [json.dumps(each).rpartition(":")[2].strip('"[]} ') for each in resources]
    return action in actions and any(fnmatch.fnmatchcase(resource, each) for each in patterns)


def test_a_release_makes_the_calls_that_are_expected(calls):
    assert {action for action, _ in calls} == {
        "ecr:DescribeImages",
        "ecr:DescribeRepositories",
        "ssm:DeleteParameters",
        "ssm:GetParametersByPath",
        "ssm:PutParameter",
    }


@pytest.mark.parametrize(
    ("stack", "part"),
    [("plexus-scoring-github", "Staging"), ("plexus-scoring-staging-pipeline", "Images")],
)
def test_whoever_releases_may_make_each_call(assembly, calls, stack, part):
    granted = list(statements(assembly[stack], part))
    refused = [call for call in calls if not any(allows(statement, *call) for statement in granted)]
    assert refused == []


def test_a_stage_cannot_write_the_digests_of_another(assembly):
    granted = list(statements(assembly["plexus-scoring-github"], "Staging"))
    other = f"parameter/plexus-scoring/production/images/worker/{COMMIT}"
    assert not any(allows(statement, "ssm:PutParameter", other) for statement in granted)
