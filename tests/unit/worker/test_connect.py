import pytest

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings
from plexus_scoring.worker.connect import connect, transport_kind


def test_all_that_is_missing_is_named_at_once():
    settings = Settings.from_environment({"PLEXUS_STORE": "plexus_api"})
    with pytest.raises(ConfigurationError) as caught:
        connect(settings, "rabbitmq")
    for name in (
        "PLEXUS_RABBITMQ_URL",
        "PLEXUS_RABBITMQ_REQUEST_QUEUE",
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE",
        "PLEXUS_ACCOUNT_KEY",
        "PLEXUS_API_KEY",
        "PLEXUS_API_URL",
        "PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI",
        "PLEXUS_FETCH_SCHEMA_FROM_TRANSPORT",
    ):
        assert name in caught.value.message


def test_calls_signed_with_aws_credentials_need_no_key():
    settings = Settings.from_environment(
        {"PLEXUS_STORE": "plexus_api", "PLEXUS_GRAPHQL_AUTH_MODE": "iam"}
    )
    with pytest.raises(ConfigurationError) as caught:
        connect(settings, "rabbitmq")
    assert "PLEXUS_API_URL" in caught.value.message
    assert "PLEXUS_API_KEY" not in caught.value.message


def test_another_store_needs_only_the_brokers_own():
    settings = Settings.from_environment({"PLEXUS_STORE": "sql"})
    with pytest.raises(ConfigurationError) as caught:
        connect(settings, "rabbitmq")
    assert "PLEXUS_API" not in caught.value.message


def test_concurrency_follows_the_prefetch_on_rabbitmq():
    base = {
        "PLEXUS_RABBITMQ_URL": "amqp://127.0.0.1/",
        "PLEXUS_RABBITMQ_REQUEST_QUEUE": "q",
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE": "r",
    }

    def concurrency(**more):
        return connect(Settings.from_environment(base | more), "rabbitmq").concurrency

    assert concurrency() == 1
    assert concurrency(PLEXUS_RABBITMQ_PREFETCH="50") == 50
    assert concurrency(PLEXUS_RABBITMQ_PREFETCH="50", PLEXUS_WORKER_CONCURRENCY="20") == 20
    assert concurrency(PLEXUS_WORKER_CONCURRENCY="20") == 1


def test_the_transport_is_named_by_option_or_variable():
    assert transport_kind(Settings(), "redis") == "redis"
    assert transport_kind(Settings(transport="sqs")) == "sqs"
    with pytest.raises(ConfigurationError, match="PLEXUS_TRANSPORT"):
        transport_kind(Settings())
    with pytest.raises(ConfigurationError, match="kafka"):
        transport_kind(Settings(), "kafka")
