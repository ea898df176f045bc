"""Any LangChain chat model: Vertex, and every provider that has a package of its own for LangChain."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.endings import (
    cut_reason,
    ending_of,
    withheld_reason,
    withheld_reply,
)
from plexus_scoring.engines.models.openai_wire import read_logprobs
from plexus_scoring.engines.models.provider_errors import read_error
from plexus_scoring.engines.models.reading import count, mapping, text
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError, ScoringError

_ROLES = {"system": "system", "user": "human", "assistant": "ai"}


class LangChainChat:
    """Instances of one LangChain class, one for each set of parameters. Makes single attempts.

    Args:
        settings: How long a call may take. Keys are found by the LangChain class, in the process's environment.
        path: Module and class, for example ``langchain_google_vertexai.ChatVertexAI``.

    Raises:
        ConfigurationError: the package is not installed, or that is no chat model.
    """

    def __init__(self, settings: ModelSettings, path: str) -> None:
        self._settings = settings
        self._class = _load(path)
        self._models: dict[tuple[object, ...], Any] = {}

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:
        """Ask once. Raises what `ChatModel.chat` documents, except DeadlineExceeded."""
        model = self._model(request)
        messages = [(_ROLES[message.role], message.content) for message in request.messages]
        try:
            answer = await model.ainvoke(messages)
        except Exception as error:
            try:
                meaning = _meaning(request, error, seconds)
            except failures.Filtered as refusal:
                return withheld_reply(request, refusal.error)
            if meaning is None:
                raise
            raise meaning from error
        return read_answer(request, answer)

    async def aclose(self) -> None:
        """Forget the models: LangChain's classes have no way to be closed."""
        self._models.clear()

    def _model(self, request: ChatRequest) -> Any:
        arguments = self._arguments(request)
        key = tuple(sorted(arguments.items()))
        model = self._models.get(key)
        if model is None:
            try:
                model = self._models[key] = self._class(**arguments)
            except Exception as error:  # each class has its own way to say that its key is missing
                raise ConfigurationError(
                    f"{request.provider} cannot be set up: {type(error).__name__}: {error}"
                ) from error
        return model

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        """Return what the class knows of the request's parameters, under the names it has for them."""
        fields = self._class.model_fields
        known = {*fields, *(info.alias for info in fields.values())}
        wanted: tuple[tuple[tuple[str, ...], object], ...] = (
            (("model", "model_name", "model_id"), request.model),
            (("temperature",), request.temperature),
            (("top_p",), request.top_p),
            (("max_tokens", "max_output_tokens", "max_completion_tokens"), request.max_tokens),
            (("reasoning_effort",), request.reasoning_effort),
            (("location", "region_name", "region"), request.region),
            (("logprobs",), True if request.logprobs else None),
            (("top_logprobs",), request.logprobs or None),
            (("max_retries",), 0),
            (("timeout", "request_timeout"), self._settings.timeout),
        )
        arguments: dict[str, Any] = {}
        for names, value in wanted:
            name = next((name for name in names if name in known), None)
            if name is not None and value is not None:
                arguments[name] = value
        return arguments


def _load(path: str) -> Any:
    module_name, _, class_name = path.rpartition(".")
    package = module_name.partition(".")[0].replace("_", "-")
    try:
        from langchain_core.language_models import BaseChatModel  # noqa: PLC0415  an extra, 0.5 s

        found = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise ConfigurationError(
            f"{path} is not installed: pip install 'plexus-scoring[langchain]' {package}"
        ) from error
    if not isinstance(found, type) or not issubclass(found, BaseChatModel):
        raise ConfigurationError(f"{path} is not a LangChain chat model")
    return found


def read_answer(request: ChatRequest, answer: Any) -> ChatReply:
    """Return the reply of a LangChain message. Raises EngineUnavailable if it says that the provider failed."""
    usage = mapping(answer.usage_metadata)
    facts = mapping(answer.response_metadata)
    finish_reason = text(facts.get("finish_reason")) or text(facts.get("stop_reason"))
    if ending_of(finish_reason) == "failed":
        raise failures.malformed(request, f"the answer ended with finish_reason {finish_reason!r}")
    more = mapping(getattr(answer, "additional_kwargs", None))
    refusal = text(more.get("refusal"))
    withheld = withheld_reason(finish_reason, refusal)
    return ChatReply(
        text="" if withheld else _text(answer.content),
        model=text(facts.get("model_name")) or request.model,
        prompt_tokens=count(usage.get("input_tokens")) or 0,
        completion_tokens=count(usage.get("output_tokens")) or 0,
        cached_tokens=count(mapping(usage.get("input_token_details")).get("cache_read")) or 0,
        finish_reason=finish_reason,
        # Other providers' forms of log probabilities differ each.
        logprobs=read_logprobs(mapping(facts.get("logprobs")).get("content")),
        cut=cut_reason(finish_reason),
        withheld=withheld,
        refusal=refusal or None,
        reasoning=text(more.get("reasoning_content")),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = ({"type": "text", "text": b} if isinstance(b, str) else b for b in content)
    return "\n".join(block.get("text", "") for block in blocks if block.get("type") == "text")


def _meaning(request: ChatRequest, error: Exception, seconds: float) -> ScoringError | None:
    """Return what a provider package's exception means; None: nothing that is known."""
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return failures.timed_out(request, seconds)
    status = _status(error)
    if status is not None:
        headers = getattr(getattr(error, "response", None), "headers", None)
        body = getattr(error, "body", None)
        said = read_error(body if isinstance(body, Mapping) else str(error))
        return failures.of_status(request, status, said, headers)
    transport = type(error).__module__.partition(".")[0] in (
        "httpx",
        "httpx2",
        "httpcore",
        "aiohttp",
    )
    if transport or isinstance(error, OSError) or "Connect" in type(error).__name__:
        return failures.unreachable(request, error)
    return None


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    for holder, name in ((error, "status_code"), (error, "code"), (response, "status_code")):
        value = getattr(holder, name, None)
        if isinstance(value, int) and value >= HTTPStatus.BAD_REQUEST:
            return int(value)
    return None
