"""What is wrong with the environment is said at the start, by the variable's name."""

import contextlib
import importlib.util

import pytest

from plexus_scoring import bootstrap
from plexus_scoring.engines.models import environment
from plexus_scoring.engines.models.environment import check_environment
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in (*environment.PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OPENAI_API_KEY": "sk-abc\n"}, "OPENAI_API_KEY: a line break at position 7"),
        (
            {"ANTHROPIC_API_KEY": "sk-ü"},
            "ANTHROPIC_API_KEY: a letter that is not ASCII at position 4",
        ),
        ({"AZURE_OPENAI_API_KEY": "a b"}, "AZURE_OPENAI_API_KEY: a blank at position 2"),
        ({"OPENAI_BASE_URL": "localhost:8000/v1"}, "OPENAI_BASE_URL: the scheme 'localhost'"),
        ({"OPENAI_BASE_URL": "http://h:x/v1"}, "OPENAI_BASE_URL: not a URL"),
        ({"OPENAI_API_KEY": '"sk-abc"'}, "OPENAI_API_KEY: is in quotation marks"),
        ({"OPENAI_BASE_URL": "http://h/v1\n"}, "OPENAI_BASE_URL: begins or ends with a blank"),
        ({"OPENAI_BASE_URL": "'http://h/v1'"}, "OPENAI_BASE_URL: is in quotation marks"),
        ({"OPENAI_BASE_URL": "http://h/v1/chat/completions/"}, "OPENAI_BASE_URL: ends with /chat"),
        ({"ANTHROPIC_BASE_URL": "https://"}, "ANTHROPIC_BASE_URL: names no host"),
    ],
)
def test_keys_and_addresses(environ, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_environment(environ)
    assert "sk-" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ALL_PROXY", "socks4://127.0.0.1:1080", "ALL_PROXY: the scheme 'socks4'"),
        ("https_proxy", "ftp://proxy", "https_proxy: the scheme 'ftp'"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY: names no host"),
        ("SSL_CERT_FILE", "/no/such/file.pem", "SSL_CERT_FILE: /no/such/file.pem cannot be read"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE: .*holds no certificate"),
        ("SSL_CERT_DIR", "/no/such/folder", "SSL_CERT_DIR: /no/such/folder is not a directory"),
    ],
)
def test_proxies_and_certificates(name, value, says, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=says):
        check_environment({})


def test_socks_without_its_package_is_refused(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    check_environment({})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match="ALL_PROXY: SOCKS needs the package socksio"):
        check_environment({})


def test_all_that_is_wrong_is_said_at_once(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks4://h")
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY: .*; ALL_PROXY: "):
        check_environment({"OPENAI_API_KEY": "\n"})


@pytest.mark.parametrize(("mode", "starts"), [("real", False), ("mock", True)])
async def test_a_process_that_scores_does_not_start(mode, starts, monkeypatch, tmp_path):
    monkeypatch.setenv("ALL_PROXY", "socks4://h")
    variables = {
        "PLEXUS_STORE": "memory",
        "PLEXUS_SCORING_MODE": mode,
        "PLEXUS_ATTACHMENTS_DIR": str(tmp_path),
    }
    settings = Settings.from_environment(variables)
    opened = contextlib.nullcontext() if starts else pytest.raises(ConfigurationError)
    with opened:
        async with bootstrap.open_application(settings, scores=True):
            pass


def test_what_is_right_passes(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "proxy.internal:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,.internal")
    check_environment({"OPENAI_API_KEY": "sk-abc", "OPENAI_BASE_URL": "http://[::1]:8000/v1"})
