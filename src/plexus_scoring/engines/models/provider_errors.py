"""What a provider says went wrong, in the many shapes that servers give it, and of which kind it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from plexus_scoring.engines.models.reading import JsonObject, mapping, number, objects, text

Kind = Literal["account", "throttled", "late", "passing", "filtered", "overflow", "refused"]

CLOUDFLARE_TIMEOUT = 524
_THROTTLED_STATUSES = frozenset({429, 498, 529})  # 498 is Groq's, 529 Anthropic's "overloaded"
# What every job would meet: key, credit, model, address (405, 421, 426), proxy (407) or country (451).
_ACCOUNT_STATUSES = frozenset({401, 402, 403, 404, 405, 407, 410, 421, 426, 451})
_LATE_STATUSES = frozenset({408, 504, CLOUDFLARE_TIMEOUT})
_PASSING_STATUSES = frozenset({409, 425, 499})  # 499: what was in between hung up (nginx, Gemini)


def _codes(names: str) -> frozenset[str]:
    return frozenset(names.split())


_FILTER_CODES = _codes("""
    content_filter content_policy_violation responsibleaipolicyviolation data_inspection_failed
    datainspectionfailed moderation_blocked
""")
_FILTER_TEXT = re.compile(
    r"content management policy|content exists risk|(?:input|prompt|request|content) (?:was |has been )?flagged",
    re.IGNORECASE,
)
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
# OpenAI refuses with 429 what alone is above a minute's tokens: it will never fit.
_OVERFLOW_TEXT = re.compile(
    r"context (?:length|window|size)|(?:prompt|input) is too long|too many (?:input )?tokens|request too large",
    re.IGNORECASE,
)
# Of a throttle only these words mean the one request: "Too many tokens, please wait" (Bedrock) means a minute's.
_NEVER_FITS = re.compile(r"request too large", re.IGNORECASE)
_ACCOUNT_CODES = _codes("""
    insufficient_quota billing_hard_limit_reached billing_not_active insufficient_balance
    insufficient_credits exceeded_current_quota_error arrearage accountoverdueerror
    invalid_api_key authentication_error account_deactivated invalidapikey permission_error
    permission_denied access_denied access_terminated model_not_found model_not_available
    model_decommissioned invalid_model deploymentnotfound unrecognizedclientexception
    invalidsignatureexception expiredtokenexception accessdeniedexception
    resourcenotfoundexception organization_restricted unsupported_country_region_territory
""")
_ACCOUNT_TEXT = re.compile(
    r"(?:credit balance|balance|funds|credits?) (?:is |are )?(?:too low|not enough|exhausted)"
    r"|(?:insufficient|not enough|out of|no more|used all available) (?:balance|credits?|funds|quota)"
    r"|exceeded your current quota|exceeded your monthly included credits|plans? (?:&|and) billing"
    r"|api[ -]?key (?:is )?(?:not valid|invalid|expired|disabled)|(?:invalid|incorrect|expired) api[ -]?key"
    r"|\bmodel\b.{0,60}?(?:not found|does not exist|not exist|decommissioned|not a valid model|identifier is invalid)"
    r"|not a valid model id|\bno models? (?:is |are )?loaded|on-demand throughput isn.t supported"
    r"|operation does not work with the specified model|\bchat template|\bapi version\b.{0,20}?not supported"
    r"|(?:account|organization) (?:has been|is|was) (?:disabled|deactivated|restricted|suspended|not active)"
    r"|(?:extra usage|usage credits) (?:is|are) required|organization must be verified"
    r"|reached your (?:specified )?(?:api )?(?:usage|spending|spend) limit"
    r"|(?:location|country|region) is not supported|^operation not allowed\.?$"
    r"|plain http request was sent to https port",
    re.IGNORECASE | re.DOTALL,
)
# Gemini says "exceeded your current quota" of a minute's limit, too, and names the status and the wait.
_THROTTLED_CODES = _codes("""
    rate_limit_exceeded rate_limit_error rate_limited too_many_requests toomanyrequests
    resource_exhausted throttled throttlingexception servicequotaexceededexception overloaded
    overloaded_error server_overloaded engine_overloaded model_overloaded slow_down
""")
_THROTTLED_TEXT = re.compile(
    r"rate[ -]?limit|too many (?:requests|tokens, please wait)|overloaded", re.IGNORECASE
)


class ProviderError(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says.

    Attributes:
        message: Its own words.
        code: Its name for the error, as it is shown.
        param: The parameter that it names.
        status: An HTTP status that stands in the body.
        codes: Every name that it gives the error, in lower case.
    """

    message: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    codes: frozenset[str] = frozenset()


def read_error(body: Any) -> ProviderError:
    """Return what an error's body says; a text that is no JSON is taken as the message."""
    if isinstance(body, (list, tuple)):  # Gemini's compatible endpoint
        body = next(iter(objects(body)), None)
    if isinstance(body, str):
        return ProviderError(message=body)
    outer = mapping(body)
    several = next(iter(objects(outer.get("errors"))), None)
    inner = outer.get("error") or several or outer.get("base_resp") or outer
    if isinstance(inner, str):
        return _of(outer, message=inner)
    found = mapping(inner)
    detail = found.get("detail", outer.get("detail"))
    if objects(detail):  # FastAPI's, so vLLM's and Mistral's
        return _of_detail(objects(detail)[0], found)
    words: tuple[Any, ...] = (
        found.get("message"),
        found.get("msg"),
        detail,
        found.get("status_msg"),
    )
    # OpenRouter keeps the words of the provider behind it apart.
    words = (*words, mapping(found.get("metadata")).get("raw"))
    said = dict.fromkeys(word for word in words if isinstance(word, str) and word)
    return _of(found, message=": ".join(said))


def kind_of(error: ProviderError, status: int | None, *, wait: float | None = None) -> Kind:
    """Return what kind of failure it is.

    Args:
        error: What the server says.
        status: The HTTP status of the answer, or the one in the body of a 200; None: there is none.
        wait: The seconds that the server asks to wait.
    """
    codes, message = error.codes, error.message
    if codes & _FILTER_CODES or (_is_client(status) and _FILTER_TEXT.search(message)):
        return "filtered"
    throttled = (
        status in _THROTTLED_STATUSES
        or codes & _THROTTLED_CODES
        or (status is None and _THROTTLED_TEXT.search(message))
    )
    overflow = _NEVER_FITS if throttled else _OVERFLOW_TEXT
    if codes & _OVERFLOW_CODES or (_is_client(status) and overflow.search(message)):
        return "overflow"
    minute = "resource_exhausted" in codes and status == HTTPStatus.TOO_MANY_REQUESTS
    if status in _ACCOUNT_STATUSES or codes & _ACCOUNT_CODES:
        return "account"
    if _ACCOUNT_TEXT.search(message) and not minute:
        return "account"
    return _kind_of_status(codes, message, status, wait)


def _kind_of_status(
    codes: frozenset[str], message: str, status: int | None, wait: float | None
) -> Kind:
    asked_to_wait = status == HTTPStatus.SERVICE_UNAVAILABLE and wait is not None
    # Where no status is told, the words tell.
    busy = status is None and _THROTTLED_TEXT.search(message) is not None
    if status in _THROTTLED_STATUSES or codes & _THROTTLED_CODES or asked_to_wait or busy:
        return "throttled"
    if status in _LATE_STATUSES:
        return "late"
    if status is None or status in _PASSING_STATUSES or not _is_client(status):
        return "passing"
    return "refused"


def _is_client(status: int | None) -> bool:
    return status is None or HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _of(found: JsonObject, *, message: str, param: str | None = None) -> ProviderError:
    names = [found.get(key) for key in ("code", "type", "status", "name", "status_code")]
    names.append(mapping(found.get("innererror")).get("code"))
    names.append(mapping(found.get("metadata")).get("error_type"))
    told = [name for name in (text(name) for name in names) if name and name.lower() != "error"]
    return ProviderError(
        message=message,
        code=told[0] if told else None,
        param=param or text(found.get("param")),
        status=_status(found.get(key) for key in ("code", "status", "statusCode", "status_code")),
        codes=frozenset(name.lower() for name in told),
    )


def _of_detail(detail: JsonObject, found: JsonObject) -> ProviderError:
    place = [str(part) for part in detail.get("loc") or () if part != "body"]
    message = text(detail.get("msg")) or text(detail.get("type")) or ""
    param = ".".join(place) or None
    return _of(found, message=f"{param}: {message}" if param else message, param=param)


def _status(values: Iterable[Any]) -> int | None:
    for value in values:
        found = number(value)
        if found is not None and HTTPStatus.BAD_REQUEST <= found < 600:  # noqa: PLR2004  the last of HTTP's classes
            return int(found)
    return None
