"""Anthropic's Messages API, over plain HTTP.

The interface is one POST, so it needs no SDK of its own: Anthropic's costs as much import time as OpenAI's and brings
nothing used here, and its OpenAI-compatible endpoint is meant for trials, not for production. The HTTP library is the
one that the openai package brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from plexus_scoring.engines.models import conversation, failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.connections import ClientPools, connection_limits, tls
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2

API_VERSION = "2023-06-01"


class AnthropicMessages:
    """One connection pool to Anthropic. Makes single attempts: the router retries.

    Raises:
        ConfigurationError: ``ANTHROPIC_API_KEY`` is not set.
    """

    def __init__(self, settings: ModelSettings) -> None:
        key = settings.get("ANTHROPIC_API_KEY")
        if key is None:
            raise ConfigurationError("no key for Anthropic: set ANTHROPIC_API_KEY")
        self._headers = {"x-api-key": key, "anthropic-version": API_VERSION}
        base = settings.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
        self._url = f"{base.rstrip('/')}/v1/messages"
        self._clients = ClientPools(self._make_client, _close)

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Ask once. Raises what `ChatModel.chat` documents, except DeadlineExceeded."""
        import httpx2  # noqa: PLC0415  0.1 s: only when a model is asked

        try:
            with self._clients.borrow() as client:
                response = await client.post(
                    self._url, json=messages_body(request), timeout=seconds
                )
        except httpx2.TimeoutException as error:
            raise failures.timed_out(request, seconds) from error
        except httpx2.TransportError as error:
            raise failures.unreachable(request, error) from error
        if response.is_error:
            message, code, _ = failures.error_object(_json(response.content))
            raise failures.of_status(
                request,
                response.status_code,
                message=message,
                code=code,
                headers=response.headers,
            )
        return read_message(request, response.content)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._clients.aclose()

    def _make_client(self) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415  see complete

        return httpx2.AsyncClient(headers=self._headers, limits=connection_limits(), verify=tls())


async def _close(client: httpx2.AsyncClient) -> None:
    await client.aclose()


def messages_body(request: ChatRequest) -> dict[str, Any]:
    """Return the body of a message request.

    Of temperature and top_p only the first is sent: newer models refuse both at once.
    """
    system, turns = conversation.split(request.messages)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or conversation.DEFAULT_MAX_TOKENS,
        "messages": [{"role": role, "content": text} for role, text in turns],
    }
    if system:
        body["system"] = system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    elif request.top_p is not None:
        body["top_p"] = request.top_p
    return body


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(msgspec.Struct):
    content: list[_Block]
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


_MESSAGE = msgspec.json.Decoder(_Message)


def read_message(request: ChatRequest, body: bytes) -> ChatReply:
    """Return the reply of a message's body. Raises EngineUnavailable if it is none."""
    try:
        message = _MESSAGE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise failures.malformed(request, f"the answer is not a message: {error}") from error
    usage = message.usage or _Usage()
    cached = usage.cache_read_input_tokens or 0
    # Anthropic counts what its cache took part in apart from the other input.
    prompt = (usage.input_tokens or 0) + cached + (usage.cache_creation_input_tokens or 0)
    return ChatReply(
        text="\n".join(block.text or "" for block in message.content if block.type == "text"),
        model=message.model or request.model,
        prompt_tokens=prompt,
        completion_tokens=usage.output_tokens or 0,
        cached_tokens=cached,
        finish_reason=message.stop_reason,
    )


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
