"""Anthropic's Messages API. Its OpenAI-compatible endpoint is meant for trials, not for production."""

from __future__ import annotations

from typing import Any

from plexus_scoring.engines.models import conversation, failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.endings import cut_reason, withheld_reason, withheld_reply
from plexus_scoring.engines.models.failures import Filtered
from plexus_scoring.engines.models.http import HttpApi
from plexus_scoring.engines.models.provider_errors import read_error
from plexus_scoring.engines.models.reading import count, decode, joined, mapping, objects, text
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError

API_VERSION = "2023-06-01"


class AnthropicMessages:
    """Anthropic. Makes single attempts: the router retries.

    Raises:
        ConfigurationError: ``ANTHROPIC_API_KEY`` is not set.
    """

    def __init__(self, settings: ModelSettings) -> None:
        key = settings.get("ANTHROPIC_API_KEY")
        if key is None:
            raise ConfigurationError("no key for Anthropic: set ANTHROPIC_API_KEY")
        self._api = HttpApi({"x-api-key": key, "anthropic-version": API_VERSION})
        base = settings.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
        self._url = f"{base.rstrip('/')}/v1/messages"

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Ask once. Raises what `ChatModel.chat` documents, except DeadlineExceeded."""
        try:
            answer = await self._api.ask(self._url, messages_body(request), request, seconds)
            if not answer.ok:
                raise answer.failure(request)
            return read_message(request, answer.body)
        except Filtered as refusal:
            return withheld_reply(request, refusal.error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()


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


def read_message(request: ChatRequest, body: bytes) -> ChatReply:
    """Return the reply of a message's body.

    Raises:
        EngineUnavailable: it is none, or it says that the provider failed.
    """
    answer = mapping(decode(body))
    content = objects(answer.get("content"))
    if not isinstance(answer.get("content"), list) or answer.get("error"):
        said = read_error(answer)
        if said.message or said.code:
            raise failures.of_body(request, said)
        raise failures.malformed(request, "the answer is not a message")
    usage = mapping(answer.get("usage"))
    cached = count(usage.get("cache_read_input_tokens")) or 0
    written = count(usage.get("cache_creation_input_tokens")) or 0
    stop_reason = text(answer.get("stop_reason"))
    said_text = joined(content, ("text",))
    withheld = withheld_reason(stop_reason)
    return ChatReply(
        text="" if withheld else said_text,
        model=text(answer.get("model")) or request.model,
        # Anthropic counts what its cache took part in apart from the other input.
        prompt_tokens=(count(usage.get("input_tokens")) or 0) + cached + written,
        completion_tokens=count(usage.get("output_tokens")) or 0,
        cached_tokens=cached,
        finish_reason=stop_reason,
        cut=cut_reason(stop_reason),
        withheld=withheld,
        refusal=said_text or None if withheld else None,
        reasoning=joined(content, ("thinking",), key="thinking") or None,
    )
