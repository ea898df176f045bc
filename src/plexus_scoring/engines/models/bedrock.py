"""Amazon Bedrock through the Converse interface, which is the same for every family of models."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from plexus_scoring.engines.models import conversation, failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, ScoringError

DEFAULT_REGION = "us-east-1"
_CREDENTIAL_CODES = frozenset(
    {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"}
)
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

    async def complete(self, request: ChatRequest, *, seconds: float) -> ChatReply:  # noqa: ARG002
        """Ask once; the caller's timeout ends the wait, the client's own ends the thread's work.

        Raises what `ChatModel.chat` documents, except DeadlineExceeded.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._converse, request)

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
            answer = self._client(request).converse(**converse_arguments(request))
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
    """Return the reply of Converse's answer; reasoning blocks are not part of it.

    Raises EngineUnavailable if it is none.
    """
    if "output" not in answer:  # botocore makes an empty answer of a body that it cannot read
        raise failures.malformed(request, "the answer is not one of Converse")
    content = answer["output"].get("message", {}).get("content", [])
    usage = answer.get("usage", {})
    cached = usage.get("cacheReadInputTokens", 0)
    return ChatReply(
        text="\n".join(block["text"] for block in content if "text" in block),
        model=request.model,
        # As with Anthropic, what the cache took part in is counted apart.
        prompt_tokens=usage.get("inputTokens", 0) + cached + usage.get("cacheWriteInputTokens", 0),
        completion_tokens=usage.get("outputTokens", 0),
        cached_tokens=cached,
        finish_reason=answer.get("stopReason"),
    )


def _meaning(request: ChatRequest, error: Any) -> ScoringError:
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, message = details.get("Code", ""), details.get("Message", "")
    if code in _CREDENTIAL_CODES:
        return ConfigurationError(
            f"{request.provider} model {request.model}: AWS refuses the credentials ({code})"
        )
    status = _STATUS_OF_CODE.get(code, metadata.get("HTTPStatusCode"))
    if not status or status < HTTPStatus.BAD_REQUEST:
        return EngineUnavailable(f"{request.provider} model {request.model}: {code or 'no reason'}")
    return failures.of_status(
        request,
        int(status),
        message=message,
        code=code,
        headers=metadata.get("HTTPHeaders", {}),
    )
