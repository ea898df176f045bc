"""The providers that a scorecard's `model_provider` can name, and how each is reached.

Adapters are imported when the first request for them comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from plexus_scoring.engines.models.base import Adapter
from plexus_scoring.engines.models.settings import ModelSettings, ProviderLimits
from plexus_scoring.model.errors import ScorecardError

LANGCHAIN_CLASS = re.compile(r"langchain_[a-z0-9_]+(?:\.[a-z0-9_]+)*\.[A-Z]\w*", re.ASCII)
NAMES = {
    "ChatOpenAI": "openai",
    "AzureChatOpenAI": "azure",
    "BedrockChat": "bedrock",
    "ChatAnthropic": "anthropic",
    "ChatOllama": "ollama",
    "ChatVertexAI": "langchain:langchain_google_vertexai.ChatVertexAI",
}


def is_provider(name: str) -> bool:
    """Whether a scorecard's `model_provider` can be this."""
    return name in NAMES or LANGCHAIN_CLASS.fullmatch(name) is not None


@dataclass(frozen=True)
class Provider:
    """How a provider's adapter is made.

    Attributes:
        make: Takes the settings, the route's name and the limits.
        concurrency: Calls in flight at most where no setting says otherwise.
    """

    make: Callable[[ModelSettings, str, ProviderLimits], Adapter]
    concurrency: int = ProviderLimits.concurrency


def provider_of(name: str, settings: ModelSettings) -> str:
    """Return the route of a scorecard's `model_provider`: a short name, for LangChain with ``:`` and the class.

    AzureChatOpenAI, the language's default, goes to the OpenAI-compatible server where Azure is not set up.
    A class of an installed ``langchain_*`` package is named with its module: ``langchain_mistralai.ChatMistralAI``.

    Raises:
        ScorecardError: no such provider.
    """
    route = NAMES.get(name)
    if route is None:
        if LANGCHAIN_CLASS.fullmatch(name):
            return f"langchain:{name}"
        raise ScorecardError(
            f"model_provider {name!r} is none of {', '.join(NAMES)}, nor a class of a LangChain "
            "package such as langchain_mistralai.ChatMistralAI"
        )
    if route == "azure":
        from plexus_scoring.engines.models.openai import azure_is_configured  # noqa: PLC0415

        return route if azure_is_configured(settings) else "openai"
    return route


def _openai(settings: ModelSettings, _name: str, _limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.openai import openai_chat  # noqa: PLC0415

    return openai_chat(settings)


def _azure(settings: ModelSettings, _name: str, _limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.openai import azure_chat  # noqa: PLC0415

    return azure_chat(settings)


def _ollama(settings: ModelSettings, _name: str, _limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.openai import ollama_chat  # noqa: PLC0415

    return ollama_chat(settings)


def _bedrock(settings: ModelSettings, _name: str, limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.bedrock import BedrockConverse  # noqa: PLC0415

    return BedrockConverse(settings, threads=limits.concurrency)


def _anthropic(settings: ModelSettings, _name: str, _limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.anthropic import AnthropicMessages  # noqa: PLC0415

    return AnthropicMessages(settings)


def _langchain(settings: ModelSettings, name: str, _limits: ProviderLimits) -> Adapter:
    from plexus_scoring.engines.models.langchain import LangChainChat  # noqa: PLC0415

    return LangChainChat(settings, name.partition(":")[2])


PROVIDERS = {
    "openai": Provider(_openai),
    "azure": Provider(_azure),
    # Ollama works on a machine's own GPU: more at once only queues there.
    "ollama": Provider(_ollama, concurrency=8),
    # Each call of boto3 holds a thread while the model works.
    "bedrock": Provider(_bedrock, concurrency=64),
    "anthropic": Provider(_anthropic),
    "langchain": Provider(_langchain, concurrency=64),
}
