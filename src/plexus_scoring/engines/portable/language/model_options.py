"""The keys that say which model is asked, and how."""

from __future__ import annotations

from pydantic import Field

from plexus_scoring.engines.portable.language.common import Language

INHERITED = (
    "model_provider",
    "model_name",
    "model_region",
    "temperature",
    "max_tokens",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
)
"""The keys that a node takes from its score where it does not say them itself."""


class ModelOptions(Language):
    """Which model, and how. Defaults are upstream's."""

    model_provider: str = Field(
        "AzureChatOpenAI",
        description="ChatOpenAI, AzureChatOpenAI, BedrockChat, ChatVertexAI, ChatOllama, ChatAnthropic, "
        "or a LangChain class with its module.",
    )
    model_name: str | None = Field(None, description="The provider's name of the model.")
    base_model_name: str | None = None
    model_region: str | None = Field(None, description="The provider's region, for Bedrock.")
    temperature: float | None = 0.0
    top_p: float | None = 0.03
    max_tokens: int | None = Field(500, description="Most tokens of the answer.", ge=1)
    reasoning_effort: str | None = Field("low", description="low, medium, high or auto.")
    verbosity: str | None = Field("medium", description="low, medium or high.")
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
