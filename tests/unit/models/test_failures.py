"""What providers' refusals mean."""

import email.utils
from types import SimpleNamespace

import pytest

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, ScoreFailed

REQUEST = ChatRequest(
    provider="ChatOpenAI",
    model="gpt-4o-mini",
    messages=(ChatMessage("user", "My card number is 4111 1111 1111 1111, please help"),),
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ScoreFailed),
        (401, ConfigurationError),
        (403, ScoreFailed),
        (404, ScoreFailed),
        (408, failures.TimedOut),
        (409, EngineUnavailable),
        (422, ScoreFailed),
        (429, failures.Throttled),
        (500, EngineUnavailable),
        (502, EngineUnavailable),
        (504, failures.TimedOut),
        (529, failures.Throttled),
    ],
)
def test_statuses(status, kind):
    error = failures.of_status(REQUEST, status, message="because")
    assert type(error) is kind
    assert str(error).startswith("ChatOpenAI model gpt-4o-mini: ")


def test_a_used_up_quota_is_told_from_a_throttle():
    error = failures.of_status(REQUEST, 429, message="You exceeded", code="insufficient_quota")
    assert isinstance(error, failures.QuotaExhausted)


def test_503_with_retry_after_is_a_throttle():
    error = failures.of_status(REQUEST, 503, headers={"retry-after": "7"})
    assert isinstance(error, failures.Throttled)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("message", "figures"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
            "of 8192 tokens with 9001 tokens",
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 output tokens",
            "of 4096 tokens (50 characters sent)",
        ),
        (
            "prompt is too long: 210000 tokens > 200000 maximum",
            "of 200000 tokens with 210000 tokens",
        ),
        ("Input is too long for requested model.", "context (50 characters sent)"),
    ],
)
def test_an_overflow_names_tokens_and_limit(message, figures):
    error = failures.of_status(REQUEST, 400, message=message)
    assert isinstance(error, ScoreFailed)
    assert "ChatOpenAI model gpt-4o-mini: the prompt overflows the context" in str(error)
    assert figures in str(error)


def test_a_provider_that_repeats_the_prompt_is_not_quoted():
    error = failures.of_status(
        REQUEST, 400, message="invalid input: 'My card number is 4111 1111 1111 1111, please help'"
    )
    assert "4111" not in str(error)


def test_the_key_is_never_quoted():
    error = failures.of_status(REQUEST, 401, message="Incorrect API key provided: sk-secret")
    assert "sk-secret" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ],
)
def test_retry_after(headers, seconds):
    assert failures.retry_after(headers) == seconds


def test_retry_after_as_a_date(monkeypatch):
    monkeypatch.setattr(failures, "time", SimpleNamespace(time=lambda: 1_700_000_000.5))
    date = email.utils.formatdate(1_700_000_100, usegmt=True)
    assert failures.retry_after({"retry-after": date}) == 99.5


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "m", "code": "c", "param": "p"}}, ("m", "c", "p")),
        ({"message": "m", "type": "t"}, ("m", "t", None)),
        ({"error": "text"}, ("text", None, None)),
        ("text", ("text", None, None)),
        (None, ("", None, None)),
        ({"error": {"code": 400}}, ("", "400", None)),
    ],
)
def test_error_objects(body, expected):
    assert failures.error_object(body) == expected
