"""What a host process is given of the service."""

import sys

import pytest

from plexus_scoring.engines.plexus.build import build_plexus_engine, build_tactus_runner
from plexus_scoring.engines.plexus.isolation import find_python
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings

SETTINGS = {
    "OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": "http://models", "AWS_SECRET_ACCESS_KEY": "aws",
    "PLEXUS_ACCOUNT_KEY": "acme",
    "PLEXUS_API_KEY": "api", "PLEXUS_DATABASE_URL": "db", "PLEXUS_RABBITMQ_URL": "amqp", "MINE": "1",
    "ANTHROPIC_API_KEY": "", "HTTPS_PROXY": "http://proxy",
}  # fmt: skip


def given(build, **settings):
    spec = build(Settings(plexus_python=sys.executable, **settings), SETTINGS)._pool.spec
    return {name for name, value in spec.variables.items() if SETTINGS.get(name) == value}


def test_plexus_gets_the_models_settings_the_account_and_aws():
    assert given(build_plexus_engine) == {
        "OPENAI_API_KEY", "OPENAI_BASE_URL", "AWS_SECRET_ACCESS_KEY", "PLEXUS_ACCOUNT_KEY", "HTTPS_PROXY",
    }  # fmt: skip


def test_lua_gets_the_models_settings_only():
    assert given(build_tactus_runner) == {
        "OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTPS_PROXY",
    }  # fmt: skip


def test_further_variables_are_named():
    assert "MINE" in given(build_tactus_runner, plexus_host_variables=" MINE,YOURS")


def test_secrets_are_in_the_environment_and_not_in_the_command():
    spec = build_plexus_engine(Settings(plexus_python=sys.executable), SETTINGS)._pool.spec
    assert "sk" not in " ".join(spec.isolated_command() or spec.command()).split()


def test_without_an_interpreter_there_is_no_lua_and_no_plexus(monkeypatch):
    monkeypatch.setattr("plexus_scoring.engines.plexus.isolation.DEFAULT_PYTHON", "/no/python")
    assert build_tactus_runner(Settings()) is None
    with pytest.raises(ConfigurationError, match="PLEXUS_PYTHON is not set"):
        build_plexus_engine(Settings())


def test_an_interpreter_that_is_not_there_is_told():
    with pytest.raises(ConfigurationError, match="there is no program '/no/such/python'"):
        find_python("/no/such/python")
