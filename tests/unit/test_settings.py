from __future__ import annotations

import pytest

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings, describe_settings

EDGES = "begins or ends with a blank or a line break: set it again without"
QUOTES = "is in quotation marks, which are part of the value in an env file: take them away"


def test_defaults_need_no_environment():
    settings = Settings.from_environment({})
    assert settings.mode == "real"
    assert settings.scorecard_cache_dir == "/tmp/scorecards"
    assert settings.store is None


def test_values_are_typed_and_an_empty_variable_is_not_set():
    settings = Settings.from_environment(
        {
            "PLEXUS_MAX_ATTEMPTS": "7",
            "PLEXUS_REUSE_RESULTS": "1",
            "PLEXUS_LEASE_SECONDS": "2.5",
            "PLEXUS_SCORING_MODE": "",
        }
    )
    assert (settings.max_attempts, settings.reuse_results, settings.lease_seconds) == (7, True, 2.5)
    assert settings.mode == "real"


@pytest.mark.parametrize("name", ["PLEXUS_LEASE_SECONDS", "PLEXUS_DRAIN_SECONDS"])
@pytest.mark.parametrize("text", ["inf", "nan", "-1"])
def test_a_time_is_a_finite_number(name, text):
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_environment({name: text})


def test_all_malformed_variables_are_named_at_once_and_secrets_are_not_shown():
    environ = {
        "PLEXUS_MAX_ATTEMPTS": "0",
        "PLEXUS_SCORING_MODE": "pretend",
        "PLEXUS_LEASE_SECONDS": "soon",
    }
    with pytest.raises(ConfigurationError) as error:
        Settings.from_environment(environ)
    for name in environ:
        assert name in error.value.message


def test_all_missing_variables_are_named_at_once():
    with pytest.raises(ConfigurationError) as error:
        Settings.from_environment({}).require(
            "account_key", "api_key", "mode", "attachments_bucket"
        )
    assert error.value.message == (
        "missing environment variables: PLEXUS_ACCOUNT_KEY, PLEXUS_API_KEY, "
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"
    )


def test_every_setting_is_described_once():
    rows = describe_settings()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.doc.endswith("."), row.name
        assert row.type, row.name


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PLEXUS_RABBITMQ_URL", "http://user:secret@x", "must begin with amqp:// or amqps://"),
        ("PLEXUS_REDIS_URL", "http://x", "must begin with redis:// or rediss://"),
        ("PLEXUS_API_URL", "nonsense", "must begin with http:// or https://"),
        ("PLEXUS_DATABASE_URL", "sqlite:////j.db\n", EDGES),
        ("PLEXUS_RABBITMQ_URL", '"amqp://u:secret@x"', QUOTES),
        ("PLEXUS_API_URL", "https:/x", "must begin with http:// or https://"),
        ("PLEXUS_API_URL", "https:///graphql", "names no host: https://HOST/…"),
        ("PLEXUS_RESPONSE_WORKER_QUEUE_URL", "responses", "must begin with http:// or https://"),
        ("PLEXUS_DATABASE_URL", "mysql://x/y", "must begin with sqlite:// or postgresql:// or postgres://"),
        ("PLEXUS_RABBITMQ_URL", "amqp://u:p/w@host:5672/",
         "is no URL: a password's special characters must be percent-encoded"),
    ],
)  # fmt: skip
def test_a_url_is_checked_by_its_scheme_and_not_quoted(name, value, problem):
    with pytest.raises(ConfigurationError) as error:
        Settings.from_environment({name: value})
    assert error.value.message == f"{name} {problem}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLEXUS_RABBITMQ_URL", "amqps://user:p%2Fw@host:5671/%2F"),
        ("PLEXUS_REDIS_URL", "rediss://:secret@host:6379/0"),
        ("PLEXUS_DATABASE_URL", "sqlite:///jobs.db"),
        ("PLEXUS_DATABASE_URL", "postgresql+psycopg://u:p@[::1]:5432/d?sslmode=require"),
        ("PLEXUS_API_URL", "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"),
    ],
)
def test_a_url_of_the_right_scheme_is_taken(name, value):
    Settings.from_environment({name: value})


def test_a_transport_that_ends_with_the_process_is_no_option():
    with pytest.raises(ConfigurationError, match="PLEXUS_TRANSPORT"):
        Settings.from_environment({"PLEXUS_TRANSPORT": "memory"})
