"""One kept-alive HTTP client for Plexus's GraphQL API, its retries, and its schema's drift."""

from __future__ import annotations

import email.utils
import functools
import logging
import random
import ssl
from typing import Any

import httpx2
import msgspec

from plexus_scoring.model.errors import StoreUnavailable, shorten
from plexus_scoring.ports import Clock
from plexus_scoring.stores.codec import encode
from plexus_scoring.stores.plexus_api.documents import OPTIONAL, OPTIONAL_INPUT, Operation
from plexus_scoring.stores.plexus_api.errors import (
    ApiError,
    Misconfigured,
    SchemaDiffers,
    parse_errors,
)
from plexus_scoring.stores.plexus_api.signing import Signer

log = logging.getLogger(__name__)

_TRIES = 4
_LONGEST_WAIT = 5.0
_FIRST_WAIT = 0.2
_TOO_MANY, _SERVER_FAULT = 429, 500
_REFUSED = frozenset({401, 403})


class Answer(msgspec.Struct, frozen=True):
    """What the API said: `data` by field, and what went wrong on the way."""

    data: dict[str, Any]
    errors: tuple[ApiError, ...] = ()

    def error(self, field: str) -> ApiError | None:
        """Return the error that left `field` without an answer; None if it has one, or is truly nothing.

        An error further down (an item that could not be read, say) leaves the rest usable.
        """
        if self.data.get(field) is not None:
            return None
        return next((error for error in self.errors if error.field == field), None)

    def partial(self, *path: str) -> bool:
        """Whether what stands (or does not stand) at `path` is so because of an error."""
        return any(error.path[: len(path)] == path for error in self.errors)


class GraphQLClient:
    """Sends operations. Safe to share between the tasks of one event loop.

    Args:
        url: The API's endpoint.
        signer: Says who calls.
        clock: Time, for the waits between tries.
        timeout: Seconds for one request.
        connections: Connections kept at most.
    """

    def __init__(
        self,
        url: str,
        signer: Signer,
        *,
        clock: Clock,
        timeout: float = 30.0,
        connections: int = 32,
    ) -> None:
        self._url = url
        self._signer = signer
        self._clock = clock
        self._absent: frozenset[tuple[str, str]] = frozenset()
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout, connect=5.0),
            verify=_tls(),
            limits=httpx2.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=300.0,
            ),
        )

    async def execute(self, operation: Operation, **variables: Any) -> Answer:
        """Send an operation; errors of single fields are the caller's to judge (`Answer.error`).

        Raises:
            StoreUnavailable: no answer, 5xx or 429 after several tries, or an error of the whole request.
            Misconfigured: the key is refused, or the schema lacks what we cannot do without.
        """
        while True:
            status, body = await self._send(operation, variables)
            answer = self._read(status, body)
            if not self._adapt(answer):
                return self._judged(operation, answer)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._http.aclose()

    async def _send(self, operation: Operation, variables: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body, trying again on 429 and 5xx, and where the connection broke before an answer.

        Every mutation here can be sent twice: creations carry their own id, updates a condition.
        """
        content = encode(
            {
                "query": operation.render(self._absent),
                "operationName": operation.name,
                "variables": self._without_absent(operation, variables),
            }
        )
        wait = 0.0
        for left in reversed(range(_TRIES)):
            trouble: str
            headers = await self._signer.headers(self._url, content)
            try:
                response = await self._http.post(self._url, content=content, headers=headers)
            except httpx2.TimeoutException as error:
                raise self._unavailable(
                    operation, f"no answer in time ({type(error).__name__})"
                ) from error
            except httpx2.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
                wait = 0.0
            except (httpx2.InvalidURL, httpx2.HTTPError) as error:
                raise Misconfigured(f"PLEXUS_API_URL is no usable address: {error}") from error
            else:
                status = response.status_code
                throttled = status == _TOO_MANY or _throttled(response.content)
                if not throttled and status < _SERVER_FAULT:
                    return status, response.content
                trouble = f"HTTP {status}"
                wait = _retry_after(response.headers.get("retry-after"), self._clock.now())
            if not left:
                raise self._unavailable(
                    operation, f"{trouble}, {_TRIES} times", retry_after=wait or None
                )
            bound = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (_TRIES - 1 - left))
            if wait > _LONGEST_WAIT:
                raise self._unavailable(operation, trouble, retry_after=wait)
            await self._clock.sleep(wait + random.uniform(0, bound))  # noqa: S311  jitter is no secret
        raise AssertionError("unreachable")  # pragma: no cover

    def _read(self, status: int, body: bytes) -> Answer:
        try:
            answer = msgspec.json.decode(body)  # noqa: TID251  of no type
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        errors = parse_errors(answer.get("errors")) if isinstance(answer, dict) else ()
        if status in _REFUSED or any(error.unauthorized and not error.path for error in errors):
            reason = f": {errors[0]}" if errors else ""
            raise Misconfigured(
                f"Plexus's API refuses the key or signature (HTTP {status}){reason}; check PLEXUS_API_KEY (or, with "
                "PLEXUS_GRAPHQL_AUTH_MODE=iam, the role) and PLEXUS_API_URL"
            )
        if not isinstance(answer, dict) or not (errors or isinstance(answer.get("data"), dict)):
            shown = shorten(body[:200].decode("utf-8", "replace"), 120)
            raise Misconfigured(
                f"PLEXUS_API_URL does not answer like a GraphQL API (HTTP {status}, {shown!r})"
            )
        return Answer(answer.get("data") or {}, errors)

    def _adapt(self, answer: Answer) -> bool:
        """Leave out fields that the API's schema does not have; whether to send the operation again."""
        found = {unknown for error in answer.errors if (unknown := error.unknown_field())}
        new = {entry for entry in found if _can_do_without(*entry)} - self._absent
        if not new or len(new) < len(found):
            return False
        self._absent |= new
        names = ", ".join(sorted(f"{kind}.{field}" for kind, field in new))
        log.warning("Plexus's API does not have %s: going on without", names)
        return True

    def _judged(self, operation: Operation, answer: Answer) -> Answer:
        whole = [error for error in answer.errors if not error.path and not error.condition_refused]
        if whole:
            first = whole[0]
            if (
                first.unknown_field()
                or "Validation" in first.type
                or "Validation error" in first.message
            ):
                raise SchemaDiffers(
                    f"Plexus's API has another schema than this version knows: {operation.name}: {first}"
                )
            raise self._unavailable(operation, str(first))
        for error in answer.errors:
            if not error.condition_refused:
                log.warning("partial answer of Plexus's API to %s: %s", operation.name, error)
        return answer

    def _without_absent(self, operation: Operation, variables: dict[str, Any]) -> dict[str, Any]:
        if not self._absent:
            return variables
        return {
            name: {
                field: part
                for field, part in value.items()
                if (operation.inputs.get(name, ""), field) not in self._absent
            }
            if name in operation.inputs
            else value
            for name, value in variables.items()
        }

    def _unavailable(
        self, operation: Operation, reason: str, *, retry_after: float | None = None
    ) -> StoreUnavailable:
        return StoreUnavailable(
            f"Plexus's API, {operation.name}: {shorten(reason, 300)}", retry_after=retry_after
        )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context of this process: reading the system's certificates takes longer than a call."""
    return httpx2.create_ssl_context()


def unavailable(error: ApiError, what: str) -> StoreUnavailable:
    """Return a field's error as the error to raise."""
    kind = Misconfigured if error.unauthorized else StoreUnavailable
    return kind(f"Plexus's API, {what}: {error}")


def _can_do_without(kind: str, field: str) -> bool:
    return field in OPTIONAL.get(kind, ()) or field in OPTIONAL_INPUT.get(kind, ())


def _throttled(body: bytes) -> bool:
    """Whether a 200 says that the API, or the table behind it, is out of breath: nothing was done then."""
    if b'"errors"' not in body or len(body) > 100_000:  # noqa: PLR2004  errors of a whole request are short
        return False
    try:
        answer = msgspec.json.decode(body)  # noqa: TID251  of no type
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    errors = parse_errors(answer.get("errors")) if isinstance(answer, dict) else ()
    return bool(errors) and all(error.passing for error in errors)


def _retry_after(header: str | None, now: float) -> float:
    """Return the seconds that a Retry-After asks for (RFC 9110, 10.2.3), 0 for none."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return 0.0
