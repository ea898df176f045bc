"""What providers' failures mean in the service's own errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from plexus_scoring.engines.models.base import ChatRequest
from plexus_scoring.engines.models.provider_errors import Kind, ProviderError, kind_of
from plexus_scoring.engines.models.waits import retry_after
from plexus_scoring.model.errors import (
    AccountRefused,
    EngineUnavailable,
    ProviderBusy,
    ProviderDown,
    ScoreFailed,
    ScoringError,
    shorten,
)

MAX_PROVIDER_TEXT = 300
_ECHO_WINDOW = 24
# OpenAI and vLLM: "maximum context length is 8192 tokens. However, … resulted in 9001 tokens";
# Anthropic: "prompt is too long: 210000 tokens > 200000 maximum".
_LIMIT = re.compile(r"context length(?: is| of)? (\d[\d,]*)|tokens? > (\d[\d,]*)")
_USED = re.compile(r"(?:resulted in|requested) (\d[\d,]*) tokens|(\d[\d,]*) tokens? >")
_REMEDIES = {
    "HTTP 401": "the key is refused: check it",
    "HTTP 402": "its credit is used up: top it up",
    "HTTP 403": "access is refused: check what the key may use",
    "HTTP 404": "there is no such model, deployment or address: check the names",
    "HTTP 405": "the address takes no calls: check the base URL",
    "HTTP 407": "the proxy wants credentials: write them into its URL, or name the host in NO_PROXY",
    "HTTP 410": "the model is withdrawn: take another",
}
_KEY_CODES = frozenset({"invalid_api_key", "invalidapikey", "authentication_error"})


class Throttled(ProviderBusy):
    """The provider says that it is asked too much (429, 503 with Retry-After, 529): ask less."""


class TimedOut(EngineUnavailable):
    """No answer came in time, which also says that the provider may be asked too much."""


class MalformedReply(EngineUnavailable):
    """The provider's answer is not what its interface promises."""


class Filtered(Exception):
    """The provider's content filter refuses what was asked."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.code or "content filter")
        self.error = error


def of_status(
    request: ChatRequest,
    status: int,
    error: ProviderError,
    headers: Mapping[str, str] | None = None,
) -> ScoringError:
    """Return the error that an HTTP status of a provider means.

    Args:
        request: What was asked. Its text never enters the error, even where the provider repeats it.
        status: 300 or more.
        error: What the body says.
        headers: The response's headers, lower-case names.

    Raises:
        Filtered: the provider's content filter refuses what was asked.
    """
    wait = retry_after(headers or {})
    kind = kind_of(error, status, wait=wait)
    return _meaning(request, error, kind, f"HTTP {status}", wait, down=_is_server(status))


def of_body(request: ChatRequest, error: ProviderError) -> ScoringError:
    """Return the error that a failure within an answer of status 200 means.

    It is retried even where its code is one of a refusal: a gateway wraps whatever the provider behind it says.

    Raises:
        Filtered: the provider's content filter refuses what was asked.
    """
    kind = kind_of(error, error.status)
    kind = "passing" if kind == "refused" else kind
    where = "in an answer of HTTP 200"
    return _meaning(request, error, kind, where, None, down=_is_server(error.status))


def _is_server(status: int | None) -> bool:
    return status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _meaning(
    request: ChatRequest,
    error: ProviderError,
    kind: Kind,
    where: str,
    wait: float | None,
    *,
    down: bool,
) -> ScoringError:
    who = _who(request)
    told = f"{where}, {error.code}" if error.code else where
    said = _said(error.message, request)
    if kind == "filtered":
        raise Filtered(error)
    if kind == "overflow":
        return overflow(request, error.message)
    if kind == "account":
        # The provider's words about a key are left out: some repeat part of it.
        about_key = where == "HTTP 401" or error.codes & _KEY_CODES
        remedy = _REMEDIES.get(where, "check credit, key and model")
        return AccountRefused(
            f"{who}: the provider refuses our account ({told}); {remedy}{'' if about_key else said}",
            retry_after=wait,
        )
    if kind == "throttled":
        return Throttled(f"{who}: throttled ({told}){said}", retry_after=wait)
    if kind == "late":
        return TimedOut(f"{who}: no answer in time ({told})", retry_after=wait)
    if kind == "refused":
        return ScoreFailed(f"{who}: the provider refuses the request ({told}){said}")
    failed = ProviderDown if down else EngineUnavailable
    return failed(f"{who}: the provider failed ({told}){said}", retry_after=wait)


def overflow(request: ChatRequest, message: str) -> ScoreFailed:
    """Return the error of a prompt that does not fit, with its tokens and the limit where they are told."""
    used, limit = _USED.search(message), _LIMIT.search(message)
    figures = f" of {limit[1] or limit[2]} tokens" if limit else ""
    figures += f" with {used[1] or used[2]} tokens" if used else ""
    size = sum(len(part.content) for part in request.messages)
    return ScoreFailed(
        f"{_who(request)}: the prompt overflows the context{figures} "
        f"({size:,} characters sent); shorten the text with a processor or take a larger model"
    )


def timed_out(request: ChatRequest, seconds: float) -> TimedOut:
    """Return the error of a call that gave no answer."""
    return TimedOut(
        f"{_who(request)}: no answer within {seconds:.3g} s (PLEXUS_MODEL_TIMEOUT_SECONDS)"
    )


def unreachable(request: ChatRequest, error: BaseException) -> ProviderDown:
    """Return the error of a connection that could not be made or broke."""
    cause = error.__cause__ or error
    return ProviderDown(f"{_who(request)}: no connection ({type(cause).__name__})")


def malformed(request: ChatRequest, what: str) -> MalformedReply:
    """Return the error of an answer that cannot be read."""
    return MalformedReply(f"{_who(request)}: {what}")


def _who(request: ChatRequest) -> str:
    return f"{request.provider} model {request.model}"


def _said(message: str, request: ChatRequest) -> str:
    """Return the provider's words, unless they repeat what was sent: errors never hold item text."""
    text = shorten(message, MAX_PROVIDER_TEXT)
    if not text:
        return ""
    sent = " ".join(" ".join(part.content.split()) for part in request.messages)
    last = max(1, len(text) - _ECHO_WINDOW + 1)
    if any(text[start : start + _ECHO_WINDOW] in sent for start in range(0, last, 4)):
        return ": (the provider's message repeats the prompt and is not kept)"
    return f": {text}"
