"""OpenAI and everything that speaks its interface: Azure, Ollama, vLLM and others.

OpenAI's reasoning models (gpt-5, o3-mini, …) go to the responses endpoint, as upstream sends them; a server that has
none (404) is asked for a chat completion. What a server refuses of a request's parameters is left out or renamed,
and remembered for the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from plexus_scoring.engines.models import openai_wire as wire
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.endings import withheld_reply
from plexus_scoring.engines.models.failures import Filtered
from plexus_scoring.engines.models.http import Answer, HttpApi
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError

_NO_ENDPOINT = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
AZURE_API_VERSION = "2024-10-21"

Read = Callable[[ChatRequest, bytes], ChatReply]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one server wants to be spoken to.

    Attributes:
        url: Takes endpoint and model; the endpoint begins with a slash.
        headers: The key.
        responses: Whether reasoning models go to the responses endpoint.
        limit_names: What the output limit is called on the chat endpoint, for ordinary and reasoning models.
        reasoning_on_chat: Whether the chat endpoint is told `reasoning_effort`.
    """

    url: Callable[[str, str], str]
    headers: dict[str, str]
    responses: bool = True
    limit_names: tuple[str, str] = ("max_completion_tokens", "max_completion_tokens")
    reasoning_on_chat: bool = False


class OpenAIChat:
    """One OpenAI-compatible server. Makes single attempts: the router retries."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._api = HttpApi(dialect.headers)
        self._without_responses: set[str] = set()

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Ask once. Raises what `ChatModel.chat` documents, except DeadlineExceeded."""
        try:
            return await self._complete(request, seconds)
        except Filtered as refusal:
            return withheld_reply(request, refusal.error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    async def _complete(self, request: ChatRequest, seconds: float) -> ChatReply:
        reasoning_model = wire.is_reasoning_model(request.model)
        responses = self._dialect.responses and reasoning_model
        if responses and request.model not in self._without_responses:
            answer = await self._ask("/responses", wire.responses_body(request), request, seconds)
            if answer.status not in _NO_ENDPOINT:
                return _reply(answer, wire.read_response, request)
        body = wire.chat_body(
            request,
            limit_name=self._dialect.limit_names[reasoning_model],
            reasoning=self._dialect.reasoning_on_chat or responses,
        )
        answer = await self._ask("/chat/completions", body, request, seconds)
        if answer.ok and responses:
            self._without_responses.add(request.model)
        return _reply(answer, wire.read_completion, request)

    async def _ask(
        self, endpoint: str, body: dict[str, Any], request: ChatRequest, seconds: float
    ) -> Answer:
        url = self._dialect.url(endpoint, request.model)
        return await self._api.ask(url, body, request, seconds)


def _reply(answer: Answer, read: Read, request: ChatRequest) -> ChatReply:
    if not answer.ok:
        raise answer.failure(request)
    return read(request, answer.body)


def openai_chat(settings: ModelSettings) -> OpenAIChat:
    """Return OpenAI (``OPENAI_API_KEY``) or the compatible server at ``OPENAI_BASE_URL``.

    Raises:
        ConfigurationError: neither variable is set.
    """
    base_url = settings.get("OPENAI_BASE_URL", "OPENAI_API_BASE")
    key = settings.get("OPENAI_API_KEY")
    if key is None and base_url is None:
        raise ConfigurationError(
            "no key for OpenAI: set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible server"
        )
    headers = {
        "openai-organization": settings.get("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
        "openai-project": settings.get("OPENAI_PROJECT_ID"),
        "authorization": f"Bearer {key}" if key else None,
    }
    return OpenAIChat(
        Dialect(
            url=_below(base_url or "https://api.openai.com/v1"),
            headers={name: value for name, value in headers.items() if value},
        )
    )


def azure_is_configured(settings: ModelSettings) -> bool:
    """Whether Azure's address is set: ``AZURE_OPENAI_ENDPOINT``, or upstream's ``AZURE_API_BASE``."""
    return settings.get("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE") is not None


def azure_chat(settings: ModelSettings) -> OpenAIChat:
    """Return Azure OpenAI: the deployment is the scorecard's model name, or ``AZURE_OPENAI_DEPLOYMENT``.

    Raises:
        ConfigurationError: no key.
    """
    key = settings.get("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")
    token = settings.get("AZURE_OPENAI_AD_TOKEN")
    if key is None and token is None:
        raise ConfigurationError(
            "no key for Azure OpenAI: set AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"
        )
    base = (settings.get("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE") or "").rstrip("/")
    version = settings.get("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION", "AZURE_API_VERSION")
    deployment = settings.get("AZURE_OPENAI_DEPLOYMENT")

    def url(endpoint: str, model: str) -> str:
        if base.endswith("/openai/v1"):
            return f"{base}{endpoint}"
        name = quote(deployment or model, safe="")
        query = f"api-version={version or AZURE_API_VERSION}"
        return f"{base}/openai/deployments/{name}{endpoint}?{query}"

    return OpenAIChat(
        Dialect(
            url=url,
            headers={"api-key": key} if key else {"authorization": f"Bearer {token}"},
            responses=False,
            # The GA interface of 2024-10-21 knows max_completion_tokens for reasoning models only.
            limit_names=("max_tokens", "max_completion_tokens"),
        )
    )


def ollama_chat(settings: ModelSettings) -> OpenAIChat:
    """Return Ollama's OpenAI-compatible endpoint at ``OLLAMA_HOST`` (default: this machine)."""
    host = settings.get("OLLAMA_BASE_URL", "OLLAMA_HOST") or "http://127.0.0.1:11434"
    if "://" not in host:
        host = f"http://{host}"
    key = settings.get("OLLAMA_API_KEY") or "ollama"
    return OpenAIChat(
        Dialect(
            url=_below(host.rstrip("/").removesuffix("/v1") + "/v1"),
            headers={"authorization": f"Bearer {key}"},
            responses=False,
            limit_names=("max_tokens", "max_tokens"),
            reasoning_on_chat=True,
        )
    )


def _below(base: str) -> Callable[[str, str], str]:
    base = base.rstrip("/")
    return lambda endpoint, _model: f"{base}{endpoint}"
