"""The one small port that language models stand behind.

An engine speaks `ChatRequest` and `ChatReply`; a provider's SDK is imported by its adapter when the first
request for that provider comes, never before.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a model.

    Attributes:
        provider: The scorecard's `model_provider`: ChatOpenAI, AzureChatOpenAI, BedrockChat, ChatVertexAI,
            ChatOllama, ChatAnthropic.
        model: The provider's name of the model.
        region: The provider's region, where it has regions.
        temperature: None leaves the provider's default; so do `top_p` and `max_tokens` (output tokens).
        logprobs: Number of alternatives to report per output token; 0 asks for none.
        reasoning_effort: For reasoning models; `verbosity` likewise.
    """

    provider: str
    model: str
    messages: tuple[ChatMessage, ...]
    region: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    logprobs: int = 0
    reasoning_effort: str | None = None
    verbosity: str | None = None


class TokenLogprob(msgspec.Struct, frozen=True):
    """An output token with the natural logarithm of its probability, and its likeliest alternatives."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model answered, and what it counted.

    Attributes:
        text: The answer without the model's reasoning; empty where it was withheld.
        cached_tokens: Those of `prompt_tokens` that came from the provider's cache.
        finish_reason: Why the answer ended, in the provider's word.
        cut: Why the answer is not whole; None if it is.
        withheld: Why there is no answer, because a filter or the model itself refused it; None if there is one.
        refusal: The model's own words in place of an answer.
        reasoning: What the model thought aloud before its answer.
        reasoning_tokens: Those of `completion_tokens` that the provider counts as reasoning.
    """

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    cut: str | None = None
    withheld: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_tokens: int = 0


class ChatModel(Protocol):
    """Something that answers chat requests."""

    async def chat(self, request: ChatRequest, *, deadline: float | None = None) -> ChatReply:
        """Return the reply.

        Retries what may pass (429 with Retry-After honoured, 5xx, timeouts) a bounded number of times with
        jitter and never past `deadline` (seconds since the epoch).

        Raises:
            EngineUnavailable: the provider cannot answer now; carries `retry_after` if it said one.
            ProviderBusy: it wants to be asked later, or no turn came before `deadline`.
            AccountRefused: it refuses our account: no credit, a bad key, no such model.
            ScoreFailed: the provider refuses this request for good (any other 4xx); a prompt
                that overflows the model's context is named with its tokens and the limit where they are told.
            ConfigurationError: no key, or the provider's extra is not installed.
            DeadlineExceeded: `deadline` came first.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...


class Adapter(Protocol):
    """One provider. Asks once; the router bounds and retries."""

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Return the reply, within `seconds`. Raises as `ChatModel.chat` does."""
        ...

    async def aclose(self) -> None:
        """Close connections. Safe to call twice."""
        ...
