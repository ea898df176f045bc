"""Amazon Bedrock through the Converse interface, which is the same for every family of models."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import msgspec

from plexus_scoring.engines.models import conversation, failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.endings import (
    cut_reason,
    ending_of,
    withheld_reason,
    withheld_reply,
)
from plexus_scoring.engines.models.parameters import Learned
from plexus_scoring.engines.models.provider_errors import ProviderError, kind_of
from plexus_scoring.engines.models.reading import count, mapping, objects, text
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError, ScoringError

log = logging.getLogger(__name__)

DEFAULT_REGION = "us-east-1"
_SAMPLING = ("temperature", "top_p")
# Codes whose HTTP status alone would be misread.
_STATUS_OF_CODE = {
    "ThrottlingException": HTTPStatus.TOO_MANY_REQUESTS,
    "ServiceQuotaExceededException": HTTPStatus.TOO_MANY_REQUESTS,
    "ModelNotReadyException": HTTPStatus.SERVICE_UNAVAILABLE,
    "ModelTimeoutException": HTTPStatus.REQUEST_TIMEOUT,
    "ModelErrorException": HTTPStatus.BAD_GATEWAY,
}


class BedrockConverse:
    """Bedrock in any region, each with a client of its own. Makes single attempts: the router retries.

    Args:
        settings: ``AWS_REGION`` is the region of scores that name none. boto3 finds the credentials.
        threads: Calls at the same time: boto3 holds a thread for each.
    """

    def __init__(self, settings: ModelSettings, *, threads: int) -> None:
        self._settings = settings
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bedrock")
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._learned: dict[str, Learned] = {}

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:  # noqa: ARG002
        """Ask once; the caller's timeout ends the wait, the client's own ends the thread's work.

        Raises what `ChatModel.chat` documents, except DeadlineExceeded.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._converse, request)
        except failures.Filtered as refusal:
            return withheld_reply(request, refusal.error)

    async def aclose(self) -> None:
        """Close the connections and let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._clients:
            _, client = self._clients.popitem()
            client.close()

    def _converse(self, request: ChatRequest) -> ChatReply:
        try:
            import botocore.exceptions as aws  # noqa: PLC0415  with boto3 0.2 s: only when asked
        except ImportError as error:
            raise ConfigurationError(
                "boto3 is not installed: pip install 'plexus-scoring[bedrock]'"
            ) from error
        try:
            answer = self._ask(request)
        except aws.ClientError as error:
            raise _meaning(request, error) from error
        except (aws.ReadTimeoutError, aws.ConnectTimeoutError) as error:
            raise failures.timed_out(request, self._settings.timeout) from error
        except (aws.HTTPClientError, aws.ConnectionError) as error:
            raise failures.unreachable(request, error) from error
        except aws.BotoCoreError as error:  # no credentials, a malformed profile, a bad parameter
            raise ConfigurationError(
                f"{request.provider} model {request.model}: {type(error).__name__}: {error}"
            ) from error
        return read_answer(request, answer)

    def _ask(self, request: ChatRequest) -> Any:
        """Call Converse, and again without what the model refuses of the sampling; what helped is kept."""
        import botocore.exceptions as aws  # noqa: PLC0415

        known = trial = self._learned.get(request.model, Learned())
        while True:
            sampling = {name: getattr(request, name) for name in _SAMPLING}
            sent = trial.applied(
                {name: value for name, value in sampling.items() if value is not None}
            )
            asked = msgspec.structs.replace(request, **dict.fromkeys(_SAMPLING) | sent)
            try:
                answer = self._client(request).converse(**converse_arguments(asked))
            except aws.ClientError as error:
                said = _said(error)
                refused = (
                    error.response.get("Error", {}).get("Code") == "ValidationException"
                    and kind_of(said, HTTPStatus.BAD_REQUEST) == "refused"
                    and any(name in said.message for name in (*sent, "topP"))
                )
                changed = trial.after(said, sent) if refused else None
                if changed is None:
                    raise
                trial = changed
                continue
            if trial != known:
                self._learned[request.model] = trial
                log.warning("%s model %s: %s", request.provider, request.model, trial)
            return answer

    def _client(self, request: ChatRequest) -> Any:
        region = (
            request.region
            or self._settings.get("AWS_REGION", "AWS_DEFAULT_REGION")
            or DEFAULT_REGION
        )
        with self._lock:  # making a client is not thread-safe in boto3, using it is
            if region not in self._clients:
                self._clients[region] = self._make_client(region)
            return self._clients[region]

    def _make_client(self, region: str) -> Any:
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            connect_timeout=min(10.0, self._settings.timeout),
            read_timeout=self._settings.timeout,
            max_pool_connections=self._threads,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        return boto3.Session().client(
            "bedrock-runtime",
            region_name=region,
            config=config,
            endpoint_url=self._settings.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        )


def converse_arguments(request: ChatRequest) -> dict[str, Any]:
    """Return the arguments of Converse.

    Of temperature and top_p only the first is sent: newer Claude models refuse both at once.
    """
    system, turns = conversation.split(request.messages)
    inference: dict[str, Any] = {}
    if request.max_tokens is not None:
        inference["maxTokens"] = request.max_tokens
    if request.temperature is not None:
        inference["temperature"] = request.temperature
    elif request.top_p is not None:
        inference["topP"] = request.top_p
    arguments: dict[str, Any] = {
        "modelId": request.model,
        "messages": [{"role": role, "content": [{"text": text}]} for role, text in turns],
        "inferenceConfig": inference,
    }
    if system:
        arguments["system"] = [{"text": system}]
    if request.reasoning_effort is not None and "gpt-oss" in request.model.lower():
        arguments["additionalModelRequestFields"] = {"reasoning_effort": request.reasoning_effort}
    return arguments


def read_answer(request: ChatRequest, answer: dict[str, Any]) -> ChatReply:
    """Return the reply of Converse's answer.

    Raises EngineUnavailable if it is none, or says that the model failed.
    """
    stop_reason = text(answer.get("stopReason"))
    if "output" not in answer:  # botocore makes an empty answer of a body that it cannot read
        raise failures.malformed(request, "the answer is not one of Converse")
    if ending_of(stop_reason) == "failed":
        raise failures.malformed(request, f"the answer ended with stopReason {stop_reason!r}")
    content = objects(mapping(mapping(answer["output"]).get("message")).get("content"))
    usage = mapping(answer.get("usage"))
    cached = count(usage.get("cacheReadInputTokens")) or 0
    written = count(usage.get("cacheWriteInputTokens")) or 0
    said = "\n".join(text(block["text"]) or "" for block in content if "text" in block)
    thought = [
        text(mapping(mapping(block.get("reasoningContent")).get("reasoningText")).get("text"))
        for block in content
    ]
    withheld = withheld_reason(stop_reason)
    return ChatReply(
        text="" if withheld else said,
        model=request.model,
        # As with Anthropic, what the cache took part in is counted apart.
        prompt_tokens=(count(usage.get("inputTokens")) or 0) + cached + written,
        completion_tokens=count(usage.get("outputTokens")) or 0,
        cached_tokens=cached,
        finish_reason=stop_reason,
        cut=cut_reason(stop_reason),
        withheld=withheld,
        refusal=said or None if withheld else None,
        reasoning="\n".join(part for part in thought if part) or None,
    )


def _meaning(request: ChatRequest, error: Any) -> ScoringError:
    metadata = error.response.get("ResponseMetadata", {})
    said = _said(error)
    status = _STATUS_OF_CODE.get(said.code or "", metadata.get("HTTPStatusCode"))
    if not status or status < HTTPStatus.BAD_REQUEST:
        return failures.of_body(request, said)
    return failures.of_status(request, int(status), said, metadata.get("HTTPHeaders", {}))


def _said(error: Any) -> ProviderError:
    details = error.response.get("Error", {})
    code = text(details.get("Code")) or ""
    return ProviderError(
        message=text(details.get("Message")) or "",
        code=code or None,
        codes=frozenset({code.lower()}),
    )
