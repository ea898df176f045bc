"""A local deployment with throw-away functions in place of the shipped ones."""

import json

import pytest

from plexus_scoring.local.stack import BUCKET, TABLE, LocalDeployment, StackOptions
from plexus_scoring.model.errors import NotFound
from tests.support.aws import require_embedded_aws

HANDLER = '''
import json
import os

import boto3


def handler(event, context):
    """Send each record's body back, with what the deployment told us."""
    sqs = boto3.client("sqs")
    for record in event.get("Records", []):
        answer = {"body": record["body"], "function": context.function_name}
        sqs.send_message(
            QueueUrl=os.environ["PLEXUS_RESPONSE_WORKER_QUEUE_URL"], MessageBody=json.dumps(answer)
        )
    return {"batchItemFailures": []} if "Records" in event else dict(os.environ)
'''


@pytest.fixture
def function_root(tmp_path):
    for name in ("score_processing", "sweeper"):
        folder = tmp_path / "code" / "lambda_functions" / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
        # A package, as the shipped folder is: one without __init__.py would yield to the shipped one.
        (folder.parent / "__init__.py").touch()
    return tmp_path / "code"


def test_a_message_goes_through_the_whole_deployment(function_root, tmp_path):
    require_embedded_aws()
    options = StackOptions(function_root=function_root, environment={"PLEXUS_SCORING_MODE": "mock"})
    with LocalDeployment(tmp_path / "run", options) as deployment:
        sqs = deployment.aws.client("sqs")
        sqs.send_message(QueueUrl=deployment.requests.url, MessageBody="hello")
        messages = []
        while not messages:
            answer = sqs.receive_message(QueueUrl=deployment.responses.url, WaitTimeSeconds=20)
            messages = answer.get("Messages", [])
        (message,) = messages
        assert json.loads(message["Body"]) == {"body": "hello", "function": "score_processing"}

        seen = json.loads(deployment.invoke("sweeper").payload)
        expected = deployment.environment()
        assert {name: seen[name] for name in expected} == expected
        assert seen["PLEXUS_SCORING_MODE"] == "mock"
        assert seen["PLEXUS_JOBS_TABLE_NAME"] == TABLE
        assert seen["AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"] == BUCKET

        attributes = sqs.get_queue_attributes(
            QueueUrl=deployment.requests.url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
        )["Attributes"]
        assert attributes["VisibilityTimeout"] == "360"
        assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 5
        tables = deployment.aws.client("dynamodb").list_tables()["TableNames"]
        assert tables == [TABLE]
    for name in ("ministack.log", "score_processing.log", "sweeper.log"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_missing_function_is_said_before_anything_starts(function_root, tmp_path):
    options = StackOptions(function_root=function_root, functions=("absent",))
    with (
        pytest.raises(NotFound, match=r"no function 'absent'.*score_processing, sweeper"),
        LocalDeployment(tmp_path / "run", options),
    ):
        pass
    assert not (tmp_path / "run" / "ministack.log").exists()
