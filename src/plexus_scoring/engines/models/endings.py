"""Why an answer ended, in the words that providers have for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.provider_errors import ProviderError

Ending = Literal["whole", "cut", "withheld", "failed"]

_ENDINGS: Mapping[str, Ending] = {
    **dict.fromkeys(
        (
            "length",
            "incomplete",
            "max_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "model_length",  # Mistral's: the context is full
            "model_context_window_exceeded",
            "pause_turn",
        ),
        "cut",
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "guardrail_intervened",
            "refusal",
            "safety",
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
            "sensitive",  # Zhipu's
        ),
        "withheld",
    ),
    **dict.fromkeys(
        (
            "failed",
            "cancelled",
            "abort",
            "network_error",
            "malformed_function_call",
            "malformed_model_output",
            "insufficient_system_resource",  # DeepSeek's
        ),
        "failed",
    ),
}


def ending_of(finish_reason: str | None) -> Ending:
    """Return how an answer ended; a reason that nobody knows is no reason to doubt it."""
    # Gemini's compatible endpoint says "content_filter: SAFETY".
    plain = (finish_reason or "").partition(":")[0].strip().lower()
    # A relay's "error_finish" comes with the provider's error as the text.
    return "failed" if plain.startswith("error") else _ENDINGS.get(plain, "whole")


def cut_reason(finish_reason: str | None, *, named: str | None = None) -> str | None:
    """Return the reason why an answer is not whole, `named` in its place if given; None if it is whole."""
    if ending_of(finish_reason) != "cut":
        return None
    return f"the answer was cut ({named or finish_reason})"


def withheld_reason(finish_reason: str | None, refusal: str | None = None) -> str | None:
    """Return the reason why there is no answer, None if there is one."""
    if refusal or (finish_reason or "").lower() == "refusal":
        return "the model refused to answer (refusal)"
    if ending_of(finish_reason) == "withheld":
        return f"the provider's content filter withheld the answer ({finish_reason})"
    return None


def withheld_reply(request: ChatRequest, error: ProviderError) -> ChatReply:
    """Return what stands for the answer where a content filter refuses the question itself."""
    return ChatReply(
        text="",
        model=request.model,
        finish_reason="content_filter",
        withheld=f"the provider's content filter refused the prompt ({error.code or 'content_filter'})",
    )
