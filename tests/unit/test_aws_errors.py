"""What AWS refuses becomes an error of ours that says what, and whether another attempt may help."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)

from plexus_scoring.aws import Aws, translate
from plexus_scoring.model.errors import (
    ConfigurationError,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
)

QUEUE = "queue http://sqs/requests"


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as AWS says it"}}, "Operation")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (refusal("AWS.SimpleQueueService.NonExistentQueue"), NotFound, "does not exist"),
        (refusal("ResourceNotFoundException"), NotFound, "does not exist"),
        (refusal("NoSuchBucket"), NotFound, "does not exist"),
        (refusal("AccessDenied"), StoreUnavailable, "check the role's permissions"),
        (refusal("AccessDeniedException"), StoreUnavailable, "check the role's permissions"),
        (refusal("ExpiredToken"), StoreUnavailable, "access denied"),
        (refusal("PermanentRedirect"), StoreUnavailable, "check AWS_REGION"),
        (refusal("ThrottlingException"), StoreUnavailable, "ThrottlingException"),
        (
            refusal("ProvisionedThroughputExceededException"),
            StoreUnavailable,
            "ProvisionedThroughputExceeded",
        ),
        (refusal("InternalServerError"), StoreUnavailable, "InternalServerError"),
        (refusal("ValidationException"), InvalidRequest, "as AWS says it"),
        (EndpointConnectionError(endpoint_url="http://sqs"), StoreUnavailable, "http://sqs"),
        (ConnectTimeoutError(endpoint_url="http://sqs"), StoreUnavailable, "timeout"),
        (NoCredentialsError(), ConfigurationError, "credentials"),
        (NoRegionError(), ConfigurationError, "region"),
    ],
)
def test_each_refusal_in_our_words(error, kind, says):
    translated = translate(error, QUEUE)
    assert type(translated) is kind
    assert translated.message.startswith(QUEUE)
    assert says in translated.message
    assert translated.retryable is (kind in (StoreUnavailable, ConfigurationError))


async def test_a_client_without_a_region_says_so(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    aws = Aws(threads=1)
    with pytest.raises(ConfigurationError, match="sqs: no region is set: set AWS_REGION"):
        _ = aws.sqs
    await aws.aclose()
    await aws.aclose()


def test_the_region_is_that_of_aws_region(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert Aws().sqs.meta.region_name == "eu-west-3"
    monkeypatch.delenv("AWS_REGION")
    assert Aws().sqs.meta.region_name == "us-east-1"
