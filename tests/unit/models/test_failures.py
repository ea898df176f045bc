"""What providers' refusals mean."""

import pytest

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.engines.models.provider_errors import ProviderError, read_error
from plexus_scoring.model.errors import (
    AccountRefused,
    EngineUnavailable,
    ProviderBusy,
    ProviderDown,
    ScoreFailed,
)

REQUEST = ChatRequest(
    provider="ChatOpenAI",
    model="gpt-4o-mini",
    messages=(ChatMessage("user", "My card number is 4111 1111 1111 1111, please help"),),
)


def of_status(status, message="", code=None, headers=None):
    codes = frozenset([code] if code else [])
    said = ProviderError(message=message, code=code, codes=codes)
    return failures.of_status(REQUEST, status, said, headers)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ScoreFailed),
        (401, AccountRefused),
        (402, AccountRefused),
        (403, AccountRefused),
        (404, AccountRefused),
        (405, AccountRefused),
        (407, AccountRefused),
        (421, AccountRefused),
        (426, AccountRefused),
        (451, AccountRefused),
        (410, AccountRefused),
        (408, failures.TimedOut),
        (409, EngineUnavailable),
        (499, EngineUnavailable),
        (422, ScoreFailed),
        (429, failures.Throttled),
        (500, ProviderDown),
        (502, ProviderDown),
        (504, failures.TimedOut),
        (529, failures.Throttled),
        (301, EngineUnavailable),
    ],
)
def test_statuses(status, kind):
    error = of_status(status, message="because")
    assert type(error) is kind
    assert str(error).startswith("ChatOpenAI model gpt-4o-mini: ")


def test_a_used_up_quota_is_told_from_a_throttle():
    error = of_status(429, message="You exceeded", code="insufficient_quota")
    assert isinstance(error, AccountRefused)


def test_a_minutes_tokens_are_a_throttle_and_no_overflow():
    said = "Too many tokens, please wait before trying again."
    assert type(of_status(429, said, "throttlingexception")) is failures.Throttled
    assert type(of_status(429, said)) is failures.Throttled
    assert type(of_status(400, "too many tokens")) is ScoreFailed
    alone = of_status(429, "Request too large for gpt-4o: Limit 30000, Requested 31000")
    assert type(alone) is ScoreFailed


@pytest.mark.parametrize(
    "said",
    [
        "Rate limit exceeded",
        "Too many tokens, please wait before trying again.",
        "Model overloaded",
    ],
)
def test_a_throttle_in_a_200_is_known_by_its_words(said):
    assert type(failures.of_body(REQUEST, ProviderError(message=said))) is failures.Throttled


@pytest.mark.parametrize(
    "message",
    [
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        "Extra usage is required for long context requests.",
        "This organization has been disabled.",
        "Organization has been restricted. Please reach out to support.",
        "Your account has been deactivated",
        "Your organization must be verified to use this model.",
        "User location is not supported for the API use.",
        "Operation not allowed",
        "Invocation of model ID x with on-demand throughput isn\u2019t supported.",
        "The chatCompletion operation does not work with the specified model, x.",
        "API version not supported",
        "As of transformers v4.44, default chat template is no longer allowed",
        "No models loaded. Please load a model in the developer page.",
        "<title>400 The plain HTTP request was sent to HTTPS port</title>",
    ],
)
def test_a_400_that_every_job_would_get_is_no_jobs_fault(message):
    error = of_status(400, message)
    assert type(error) is AccountRefused
    assert not error.counted


@pytest.mark.parametrize(
    "message",
    [
        "Operation not allowed in this conversation: first message must be of the user",
        "Invalid value for temperature: 3",
        "messages: at least one message is required",
    ],
)
def test_a_400_of_the_request_alone_is_its_failure(message):
    assert type(of_status(400, message)) is ScoreFailed


def test_503_with_retry_after_is_a_throttle():
    error = of_status(503, headers={"retry-after": "7"})
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
    error = of_status(400, message=message)
    assert isinstance(error, ScoreFailed)
    assert "ChatOpenAI model gpt-4o-mini: the prompt overflows the context" in str(error)
    assert figures in str(error)


def test_a_provider_that_repeats_the_prompt_is_not_quoted():
    error = of_status(
        400, message="invalid input: 'My card number is 4111 1111 1111 1111, please help'"
    )
    assert "4111" not in str(error)


def test_the_key_is_never_quoted():
    error = of_status(401, message="Incorrect API key provided: sk-secret")
    assert "sk-secret" not in str(error)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "Insufficient Balance",
        "You have run out of credits",
        "You exceeded your current quota, please check your plan and billing details.",
        "API key expired. Please renew the API key.",
        "The model `x` does not exist",
    ],
)
def test_an_empty_account_is_known_by_its_words_under_any_status(status, message):
    error = of_status(status, message)
    assert type(error) is AccountRefused
    assert (error.counted, error.retryable) == (False, True)


def test_a_minutes_quota_of_geminis_is_no_empty_account():
    error = of_status(429, "You exceeded your current quota", "resource_exhausted")
    assert isinstance(error, failures.Throttled)


def test_being_asked_to_wait_costs_no_attempt():
    assert issubclass(failures.Throttled, ProviderBusy)
    assert not failures.Throttled.counted
    assert failures.TimedOut.counted


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "m", "code": "c", "param": "p"}}, ("m", "c", "p", None)),
        ({"message": "m", "type": "t"}, ("m", "t", None, None)),
        ({"error": "text"}, ("text", None, None, None)),
        ("text", ("text", None, None, None)),
        (None, ("", None, None, None)),
        ({"error": {"code": 400}}, ("", "400", None, 400)),
        ([{"error": {"code": 429, "message": "m"}}], ("m", "429", None, 429)),
        ({"detail": "Not Found"}, ("Not Found", None, None, None)),
        (
            {"detail": [{"loc": ["body", "top_p"], "msg": "Extra", "type": "extra_forbidden"}]},
            ("top_p: Extra", None, "top_p", None),
        ),
        ({"base_resp": {"status_code": 1008, "status_msg": "m"}}, ("m", "1008", None, None)),
        (
            {"success": False, "errors": [{"code": 10000, "message": "m"}]},
            ("m", "10000", None, None),
        ),
        ({"error": {"message": "m", "metadata": {"raw": "why"}}}, ("m: why", None, None, None)),
        ({"error": {"message": ["odd"], "code": {"a": 1}}}, ("", None, None, None)),
    ],
)
def test_error_objects(body, expected):
    said = read_error(body)
    assert (said.message, said.code, said.param, said.status) == expected
