"""What providers' refusals mean in the service's own errors."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from plexus_scoring.engines.models.base import ChatRequest
from plexus_scoring.model.errors import (
    ConfigurationError,
    EngineUnavailable,
    ScoreFailed,
    ScoringError,
    shorten,
)

MAX_PROVIDER_TEXT = 300
_ECHO_WINDOW = 24
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
_OVERFLOW_TEXT = re.compile(
    r"context (?:length|window)|prompt is too long|input is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
# OpenAI and vLLM: "maximum context length is 8192 tokens. However, … resulted in 9001 tokens";
# Anthropic: "prompt is too long: 210000 tokens > 200000 maximum".
_LIMIT = re.compile(r"context length(?: is| of)? (\d[\d,]*)|tokens? > (\d[\d,]*)")
_USED = re.compile(r"(?:resulted in|requested) (\d[\d,]*) tokens|(\d[\d,]*) tokens? >")


class Throttled(EngineUnavailable):
    """The provider says that it is asked too much (429, 503 with Retry-After, 529): ask less."""


class TimedOut(EngineUnavailable):
    """No answer came in time, which also says that the provider may be asked too much."""


class QuotaExhausted(EngineUnavailable):
    """The account's credit or daily quota is used up: seconds of waiting do not help, a later attempt may."""


class MalformedReply(EngineUnavailable):
    """The provider's answer is not what its interface promises."""


def of_status(
    request: ChatRequest,
    status: int,
    *,
    message: str = "",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ScoringError:
    """Return the error that an HTTP status of a provider means.

    Args:
        request: What was asked. Its text never enters the error, even where the provider repeats it.
        status: 400 or more.
        message: The provider's own words.
        code: The provider's error code.
        headers: The response's headers, lower-case names.
    """
    who = f"{request.provider} model {request.model}"
    said = _said(message, request)
    wait = retry_after(headers or {})
    if status == HTTPStatus.TOO_MANY_REQUESTS and code in _QUOTA_CODES:
        return QuotaExhausted(f"{who}: the account's quota is used up{said}", retry_after=wait)
    # 529 is Anthropic's "overloaded".
    if status in (HTTPStatus.TOO_MANY_REQUESTS, 529) or (
        status == HTTPStatus.SERVICE_UNAVAILABLE and wait is not None
    ):
        return Throttled(f"{who}: throttled (HTTP {status}){said}", retry_after=wait)
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT):
        return TimedOut(f"{who}: no answer in time (HTTP {status})", retry_after=wait)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.CONFLICT:
        return EngineUnavailable(f"{who}: HTTP {status}{said}", retry_after=wait)
    return _refused(request, status, message, code)


def _refused(request: ChatRequest, status: int, message: str, code: str | None) -> ScoringError:
    """Return the error of a refusal that asking again does not change."""
    who = f"{request.provider} model {request.model}"
    if status == HTTPStatus.UNAUTHORIZED:
        # The provider's words are left out: some repeat part of the key.
        return ConfigurationError(f"{who}: the provider refuses the key (HTTP 401); check it")
    if is_overflow(message, code):
        return overflow(request, message)
    return ScoreFailed(
        f"{who}: the provider refuses the request (HTTP {status}){_said(message, request)}"
    )


def is_overflow(message: str, code: str | None = None) -> bool:
    """Whether the provider says that the prompt is too long for the model."""
    return code in _OVERFLOW_CODES or bool(_OVERFLOW_TEXT.search(message))


def overflow(request: ChatRequest, message: str) -> ScoreFailed:
    """Return the error of a prompt that does not fit, with its tokens and the limit where they are told."""
    used, limit = _USED.search(message), _LIMIT.search(message)
    figures = f" of {limit[1] or limit[2]} tokens" if limit else ""
    figures += f" with {used[1] or used[2]} tokens" if used else ""
    size = sum(len(part.content) for part in request.messages)
    return ScoreFailed(
        f"{request.provider} model {request.model}: the prompt overflows the context{figures} "
        f"({size:,} characters sent); shorten the text with a processor or take a larger model"
    )


def timed_out(request: ChatRequest, seconds: float) -> TimedOut:
    """Return the error of a call that gave no answer."""
    return TimedOut(
        f"{request.provider} model {request.model}: no answer within {seconds:.3g} s "
        "(PLEXUS_MODEL_TIMEOUT_SECONDS)"
    )


def unreachable(request: ChatRequest, error: BaseException) -> EngineUnavailable:
    """Return the error of a connection that could not be made or broke."""
    cause = error.__cause__ or error
    return EngineUnavailable(
        f"{request.provider} model {request.model}: no connection ({type(cause).__name__})"
    )


def malformed(request: ChatRequest, what: str) -> MalformedReply:
    """Return the error of an answer that cannot be read."""
    return MalformedReply(f"{request.provider} model {request.model}: {what}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks to wait: Retry-After as seconds or date, or in milliseconds."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return max(0.0, seconds)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def error_object(body: Any) -> tuple[str, str | None, str | None]:
    """Return message, code and parameter of an error body as the OpenAI-compatible world writes it."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        return (inner if isinstance(inner, str) else "", None, None)
    code = inner.get("code") or inner.get("type")
    param = inner.get("param")
    return (
        str(inner.get("message") or ""),
        None if code is None else str(code),
        None if param is None else str(param),
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124  NaN


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
