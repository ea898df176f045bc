"""Posts to a model server: connections, time limits, and the parameters that the server does not take."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatRequest
from plexus_scoring.engines.models.connections import ClientPools, make_client
from plexus_scoring.engines.models.parameters import Learned
from plexus_scoring.engines.models.provider_errors import ProviderError, kind_of, read_error
from plexus_scoring.engines.models.reading import decode
from plexus_scoring.model.errors import ScoringError

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

_PARAMETER_STATUSES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status says that all is well."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def error(self) -> ProviderError:
        """What the body says went wrong."""
        found = decode(self.body)
        words = self.body[:1_000].decode("utf-8", "replace")
        return read_error(words if found is None else found)

    def failure(self, request: ChatRequest) -> ScoringError:
        """Return what the answer means where it is not `ok`. Raises failures.Filtered."""
        return failures.of_status(request, self.status, self.error, self.headers)


class HttpApi:
    """The connections to one server.

    Args:
        headers: Sent with each request: the key, above all.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {"content-type": "application/json", "user-agent": "plexus-scoring"}
        self._headers |= headers
        self._clients = ClientPools(lambda: make_client(self._headers), _close)
        self._learned: dict[tuple[str, str], Learned] = {}

    async def ask(
        self, url: str, body: Mapping[str, Any], request: ChatRequest, seconds: float
    ) -> Answer:
        """Post the body, and again without what the server refuses of it; what helped is kept for the model.

        Returns the answer, whatever its status. Raises EngineUnavailable: there is none.
        """
        key = (url, request.model)
        known = trial = self._learned.get(key, Learned())
        while True:
            sent = trial.applied(body)
            answer = await self._post(url, sent, request, seconds)
            # "not supported" may also be said of account, place or model: no parameter helps there.
            refused = (
                answer.status in _PARAMETER_STATUSES
                and kind_of(answer.error, answer.status) != "account"
            )
            changed = trial.after(answer.error, sent) if refused else None
            if changed is None:
                break
            trial = changed
        if answer.ok and trial != known:
            self._learned[key] = self._learned.get(key, Learned()) | trial
            log.warning("%s model %s: %s", request.provider, request.model, self._learned[key])
        return answer

    async def _post(
        self, url: str, body: Mapping[str, Any], request: ChatRequest, seconds: float
    ) -> Answer:
        import httpx2  # noqa: PLC0415  0.1 s: only when a model is asked

        try:
            with self._clients.borrow() as client:
                got = await client.post(url, content=_encoded(body), timeout=seconds)
        except httpx2.TimeoutException as error:
            raise failures.timed_out(request, seconds) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise failures.unreachable(request, error) from error
        return Answer(got.status_code, got.headers, got.content)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._clients.aclose()


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(body).encode()


async def _close(client: httpx2.AsyncClient) -> None:
    await client.aclose()
