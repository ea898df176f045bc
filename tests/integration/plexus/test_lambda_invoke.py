"""`plexus-scoring lambda invoke score_processing` takes a job from PENDING in Plexus's API to COMPLETED there."""

import json
import os

import pytest

from plexus_scoring.local.lambda_cli import invoke
from plexus_scoring.model.result import result_id_of
from plexus_scoring.stores.dynamodb import create_table
from plexus_scoring.stores.dynamodb.rows import job_key
from tests.support.aws import embedded_aws, unique_name
from tests.support.graphql_server import GraphQLServer
from tests.support.plexus_api import Account
from tests.support.stores import key

__all__ = ["embedded_aws"]


@pytest.fixture
def api():
    with GraphQLServer() as server:
        yield server


@pytest.fixture
def environment(api, embedded_aws, tmp_path):
    """The function's variables, its queue, bucket and lease table."""
    bucket, table = unique_name("attachments"), unique_name("leases")
    queue = embedded_aws.client("sqs").create_queue(QueueName=unique_name("responses"))["QueueUrl"]
    embedded_aws.client("s3").create_bucket(Bucket=bucket)
    create_table(embedded_aws.client("dynamodb"), table)
    return {
        "PATH": os.environ["PATH"],
        **embedded_aws.environment(),
        **api.environment(),
        "PLEXUS_STORE": "plexus_api",
        "PLEXUS_ACCOUNT_KEY": "acme",
        "PLEXUS_JOBS_TABLE_NAME": table,
        "PLEXUS_RESPONSE_WORKER_QUEUE_URL": queue,
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": bucket,
        "SCORECARD_CACHE_DIR": str(tmp_path / "cache"),
    }


@pytest.mark.parametrize("event", [{"scoring_job_id": "job-1"}, {}], ids=["named", "oldest"])
def test_from_pending_to_completed(api, environment, embedded_aws, event):
    account = Account(api)
    account.add_job()
    answer = invoke("score_processing", json.dumps(event).encode(), environment=environment)
    assert answer.function_error is None, answer.log_tail.decode()

    result_id = result_id_of(key("job-1", "acme"))
    job, result = api.get("ScoringJob", "job-1"), api.get("ScoreResult", result_id)
    assert job["status"] == "COMPLETED"
    assert (result["value"], result["scoreVersionId"]) == ("Yes", "acme-greeting-v1")
    keys = [f"scoreresults/{result_id}/trace.json", f"scoreresults/{result_id}/log.txt"]
    assert result["attachments"] == keys
    s3 = embedded_aws.client("s3")
    bucket = environment["AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"]
    trace, log = (s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)
    assert json.loads(trace) == json.loads(result["trace"])
    assert b"claimed" in log
    assert b"hello, this is Ann" not in log
    assert b"HTTP Request" not in log + answer.log_tail

    sqs = embedded_aws.client("sqs")
    url = environment["PLEXUS_RESPONSE_WORKER_QUEUE_URL"]
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert json.loads(message["Body"])["score_result_id"] == result_id


def test_a_refused_key_leaves_the_job_as_it_is(api, environment):
    Account(api).add_job()
    event = json.dumps({"scoring_job_id": "job-1"}).encode()
    answer = invoke(
        "score_processing", event, environment=environment | {"PLEXUS_API_KEY": "wrong"}
    )
    assert "PLEXUS_API_KEY" in answer.log_tail.decode() + answer.payload.decode()
    assert api.get("ScoringJob", "job-1")["status"] == "PENDING"


def test_a_bucket_that_is_missing_gives_the_job_back(api, environment, embedded_aws):
    Account(api).add_job()
    missing = {"AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": unique_name("missing")}
    event = json.dumps({"scoring_job_id": "job-1"}).encode()
    answer = invoke("score_processing", event, environment=environment | missing)
    assert "NoSuchBucket" in answer.log_tail.decode() + answer.payload.decode()
    assert api.get("ScoringJob", "job-1")["status"] == "PENDING"
    # The deployment's fault: it costs the job no attempt.
    row = embedded_aws.client("dynamodb").get_item(
        TableName=environment["PLEXUS_JOBS_TABLE_NAME"],
        Key=job_key(key("job-1", "acme")),
    )["Item"]
    assert float(row["attempt"]["N"]) == 0


@pytest.mark.parametrize(
    "event",
    [
        {"scoring_job_id": "no-such-job"},
        {"request_id": "r", "scorecard": "none", "score": "none", "item": {"id": "none"}},
    ],
    ids=["job", "inline"],
)
def test_mock_mode_answers_what_plexus_does_not_have(api, environment, embedded_aws, event):
    Account(api)
    given = environment | {"PLEXUS_SCORING_MODE": "mock"}
    answer = invoke("score_processing", json.dumps(event).encode(), environment=given)
    (row,) = json.loads(answer.payload)["results"]
    assert row["disposition"] == "Ack", answer.log_tail.decode()
