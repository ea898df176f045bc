"""Settings that stand in a secret only, read from Secrets Manager (moto's, at the network edge)."""

from __future__ import annotations

import json
import os

import boto3
import pytest
from moto import mock_aws

from plexus_scoring.bootstrap import environment
from plexus_scoring.cli.command import load_settings
from plexus_scoring.model.errors import ConfigurationError


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():

        def store(name, text):
            client = boto3.client("secretsmanager")
            arn = client.create_secret(Name=name, SecretString=text)["ARN"]
            monkeypatch.setenv("PLEXUS_SECRET_ARN", arn)

        yield store


def test_the_secret_is_under_the_environment_and_never_in_it(secret, monkeypatch):
    values = {"PLEXUS_DATABASE_URL": "postgresql://secret", "PLEXUS_ACCOUNT_KEY": "from-secret"}
    secret("both", json.dumps(values))
    monkeypatch.setenv("PLEXUS_ACCOUNT_KEY", "from-environment")
    merged = environment()
    assert merged["PLEXUS_DATABASE_URL"] == "postgresql://secret"
    assert merged["PLEXUS_ACCOUNT_KEY"] == "from-environment"
    assert "PLEXUS_DATABASE_URL" not in os.environ


def test_commands_read_it_too(secret):
    secret("commands", json.dumps({"PLEXUS_DATABASE_URL": "postgresql://secret"}))
    assert load_settings().database_url == "postgresql://secret"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("text", "hunter2", "is not JSON"), ("list", '["hunter2"]', "is not a JSON object")],
)
def test_a_secret_of_another_shape_is_refused_without_showing_it(secret, name, text, says):
    secret(name, text)
    with pytest.raises(ConfigurationError, match=says) as error:
        environment()
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_secret_that_cannot_be_read_is_named(secret, monkeypatch):
    secret("there", "{}")
    monkeypatch.setenv(
        "PLEXUS_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:x"
    )
    with pytest.raises(ConfigurationError, match="PLEXUS_SECRET_ARN: the secret cannot be read"):
        environment()
