from __future__ import annotations

import pytest

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings, describe_settings


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
