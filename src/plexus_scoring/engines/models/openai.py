"""OpenAI and everything that speaks its interface: Azure, Ollama, vLLM and others, through the openai SDK.

Model names of OpenAI that begin with ``gpt-5`` or ``o`` go to the responses endpoint, as upstream sends them. The
SDK carries authentication, addresses and connections; bodies are read by msgspec, which is several times cheaper
than the SDK's own models and lets a compatible server leave out what is not needed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models import openai_wire as wire
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.connections import ClientPools, connection_limits, tls
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# What a model may refuse though the scorecard asks for it; the answer without it is still an answer.
_OPTIONAL = frozenset({"temperature", "top_p", "logprobs", "top_logprobs", "reasoning_effort"})
_OPTIONAL_GROUPS = {"reasoning.effort": "reasoning", "text.verbosity": "text"}
_REFUSAL_CODES = frozenset({"unsupported_parameter", "unsupported_value"})


class OpenAIChat:
    """One connection pool to one OpenAI-compatible provider. Makes single attempts: the router retries.

    Args:
        make_client: Makes the SDK's client; called when a request needs it.
        responses: Whether reasoning models go to the responses endpoint.
        limit_names: What the output limit is called on the chat endpoint, for ordinary and reasoning models.
        reasoning_on_chat: Whether the chat endpoint is told `reasoning_effort`.
    """

    def __init__(
        self,
        make_client: Callable[[], AsyncOpenAI],
        *,
        responses: bool = True,
        limit_names: tuple[str, str] = ("max_completion_tokens", "max_completion_tokens"),
        reasoning_on_chat: bool = False,
    ) -> None:
        self._clients = ClientPools(make_client, _close)
        self._responses = responses
        self._limit_names = limit_names
        self._reasoning_on_chat = reasoning_on_chat
        self._refused: dict[str, set[str]] = {}

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Ask once. Raises what `ChatModel.chat` documents, except DeadlineExceeded."""
        reasoning_model = wire.is_reasoning_model(request.model)
        if self._responses and reasoning_model:
            path, read = "/responses", wire.read_response
            body = wire.responses_body(request)
        else:
            path, read = "/chat/completions", wire.read_completion
            body = wire.chat_body(
                request,
                limit_name=self._limit_names[reasoning_model],
                reasoning=self._reasoning_on_chat,
            )
        refused = self._refused.setdefault(request.model, set())
        while True:
            for name in refused:
                body.pop(name, None)
            try:
                with self._clients.borrow() as client:
                    text = await self._post(client, path, body, request, seconds)
            except _ParameterRefused as error:
                if error.name not in body:
                    raise error.meaning from None
                refused.add(error.name)
                continue
            return read(request, text)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._clients.aclose()

    @staticmethod
    async def _post(
        client: AsyncOpenAI, path: str, body: dict[str, Any], request: ChatRequest, seconds: float
    ) -> str:
        import openai  # noqa: PLC0415  0.65 s: only when a model is asked

        try:
            return await client.post(path, body=body, cast_to=str, options={"timeout": seconds})
        except openai.APITimeoutError as error:
            raise failures.timed_out(request, seconds) from error
        except openai.APIConnectionError as error:
            raise failures.unreachable(request, error) from error
        except openai.APIStatusError as error:
            message, code, param = failures.error_object(error.body)
            meaning = failures.of_status(
                request,
                error.status_code,
                message=message,
                code=code,
                headers=error.response.headers,
            )
            name = _OPTIONAL_GROUPS.get(param or "", param or "")
            droppable = name in _OPTIONAL or name in _OPTIONAL_GROUPS.values()
            if code in _REFUSAL_CODES and droppable:
                raise _ParameterRefused(name, meaning) from error
            raise meaning from error


class _ParameterRefused(Exception):
    """The model does not know a parameter that is not essential."""

    def __init__(self, name: str, meaning: Exception) -> None:
        super().__init__(name)
        self.name = name
        self.meaning = meaning


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

    def make() -> AsyncOpenAI:
        sdk = _sdk()
        client: AsyncOpenAI = sdk.AsyncOpenAI(
            api_key=key or "none",  # local servers ask for none, the SDK insists
            base_url=base_url or "https://api.openai.com/v1",
            organization=settings.get("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
            project=settings.get("OPENAI_PROJECT_ID"),
            max_retries=0,
            http_client=_http_client(sdk),
        )
        return client

    return OpenAIChat(make)


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

    def make() -> AsyncOpenAI:
        sdk = _sdk()
        client: AsyncOpenAI = sdk.AsyncAzureOpenAI(
            azure_endpoint=settings.get("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
            azure_deployment=settings.get("AZURE_OPENAI_DEPLOYMENT"),
            api_version=settings.get(
                "AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION", "AZURE_API_VERSION"
            )
            or "2024-10-21",
            api_key=key,
            azure_ad_token=None if key else token,
            max_retries=0,
            http_client=_http_client(sdk),
        )
        return client

    # The GA interface of 2024-10-21 knows max_completion_tokens for reasoning models only.
    return OpenAIChat(make, responses=False, limit_names=("max_tokens", "max_completion_tokens"))


def ollama_chat(settings: ModelSettings) -> OpenAIChat:
    """Return Ollama's OpenAI-compatible endpoint at ``OLLAMA_HOST`` (default: this machine)."""
    host = settings.get("OLLAMA_BASE_URL", "OLLAMA_HOST") or "http://127.0.0.1:11434"
    if "://" not in host:
        host = f"http://{host}"
    base_url = host.rstrip("/").removesuffix("/v1") + "/v1"

    def make() -> AsyncOpenAI:
        sdk = _sdk()
        client: AsyncOpenAI = sdk.AsyncOpenAI(
            api_key=settings.get("OLLAMA_API_KEY") or "ollama",
            base_url=base_url,
            max_retries=0,
            http_client=_http_client(sdk),
        )
        return client

    return OpenAIChat(
        make, responses=False, limit_names=("max_tokens", "max_tokens"), reasoning_on_chat=True
    )


def _sdk() -> Any:
    try:
        import openai  # noqa: PLC0415  0.65 s: only when a model is asked
    except ImportError as error:
        raise ConfigurationError(
            "the openai package is not installed: pip install 'plexus-scoring[portable]'"
        ) from error
    return openai


async def _close(client: AsyncOpenAI) -> None:
    await client.close()


def _http_client(sdk: Any) -> Any:
    return sdk.DefaultAsyncHttpxClient(limits=connection_limits(), verify=tls())
