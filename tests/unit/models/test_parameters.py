"""Which parameter a refusal is about."""

import pytest

from plexus_scoring.engines.models.parameters import Learned
from plexus_scoring.engines.models.provider_errors import ProviderError

BODY = {
    "model": "m",
    "messages": [],
    "max_completion_tokens": 9,
    "temperature": 0.0,
    "top_p": 0.5,
    "logprobs": True,
    "top_logprobs": 5,
}


@pytest.mark.parametrize(
    ("message", "param", "gone"),
    [
        ("Unsupported", "temperature", {"temperature"}),
        ("`temperature` is not supported by this model", None, {"temperature"}),
        ("`temperature` and `top_p` cannot both be specified", None, {"top_p"}),
        ("temperature may only be set to 1 when thinking is enabled", None, {"temperature"}),
        ("You are not allowed to request logprobs", None, {"logprobs", "top_logprobs"}),
        ("top_logprobs must be 0", "top_logprobs", {"logprobs", "top_logprobs"}),
        ("Extra inputs are not permitted", "max_completion_tokens", {"max_completion_tokens"}),
        ("extra fields not permitted", None, {"max_completion_tokens"}),
        ("max_completion_tokens is too large: 9", "max_completion_tokens", None),
        ("messages must not be empty", "messages", None),
        ("unknown role", "messages", None),
        ("the image could not be read", None, None),
    ],
)
def test_what_is_left_out(message, param, gone):
    learned = Learned().after(ProviderError(message=message, param=param), BODY)
    if gone is None:
        assert learned is None
    else:
        assert BODY.keys() - learned.applied(BODY).keys() == gone


def test_a_limit_is_renamed_once_and_then_left_out():
    strange = ProviderError(message="extra fields not permitted")
    first = Learned().after(strange, BODY)
    assert first.applied(BODY)["max_tokens"] == 9
    assert str(first) == "max_completion_tokens is sent as max_tokens"
    second = first.after(strange, first.applied(BODY))
    assert not {"max_tokens", "max_completion_tokens"} & second.applied(BODY).keys()


def test_every_refusal_ends():
    learned, rounds = Learned(), 0
    while learned is not None:
        sent = learned.applied(BODY)
        learned = learned.after(ProviderError(message="extra fields not permitted"), sent)
        rounds += 1
    assert rounds < 20
    assert sent == {"model": "m", "messages": []}
