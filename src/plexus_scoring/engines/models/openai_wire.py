"""What travels between us and an OpenAI-compatible server: request bodies, and the parts of replies we read."""

from __future__ import annotations

from typing import Any

import msgspec

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest, TokenLogprob


def is_reasoning_model(model: str) -> bool:
    """Whether upstream sends this model to the responses endpoint."""
    return model.lower().startswith(("gpt-5", "o"))


def _takes_sampling(model: str) -> bool:
    return "gpt-5" not in model.lower()


def _messages(request: ChatRequest) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]


def chat_body(request: ChatRequest, *, limit_name: str, reasoning: bool) -> dict[str, Any]:
    """Return the body of a chat completion."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request),
        "stream": False,
    }
    if request.max_tokens is not None:
        body[limit_name] = request.max_tokens
    _add_sampling(body, request)
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    if reasoning and request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    return body


def responses_body(request: ChatRequest) -> dict[str, Any]:
    """Return the body of a response."""
    body: dict[str, Any] = {"model": request.model, "input": _messages(request), "stream": False}
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    _add_sampling(body, request)
    if request.logprobs:
        body |= {
            "top_logprobs": request.logprobs,
            "include": ["message.output_text.logprobs"],
        }
    if request.reasoning_effort is not None:
        body["reasoning"] = {"effort": request.reasoning_effort}
    if request.verbosity is not None:
        body["text"] = {"verbosity": request.verbosity}
    return body


def _add_sampling(body: dict[str, Any], request: ChatRequest) -> None:
    if not _takes_sampling(request.model):
        return
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p


class _TokenDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _TopLogprob(msgspec.Struct):
    token: str
    logprob: float


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_TopLogprob] | None = None


class _ChoiceLogprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    logprobs: list[_Logprob] | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _ChoiceLogprobs | None = None


class _ChatUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _TokenDetails | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: _ChatUsage | None = None


class _ResponsesUsage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _TokenDetails | None = None


class _Output(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    output: list[_Output]
    model: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: _ResponsesUsage | None = None
    error: Any = None


_COMPLETION = msgspec.json.Decoder(_Completion)
_RESPONSE = msgspec.json.Decoder(_Response)


def read_completion(request: ChatRequest, body: str) -> ChatReply:
    """Return the reply of a chat completion's body. Raises EngineUnavailable if it is none."""
    try:
        completion = _COMPLETION.decode(body)
    except msgspec.DecodeError as error:
        raise failures.malformed(request, f"the answer is not a completion: {error}") from error
    if not completion.choices:
        raise failures.malformed(request, "the answer has no choices")
    choice = completion.choices[0]
    content = choice.message.content
    usage = completion.usage or _ChatUsage()
    return ChatReply(
        text=_joined(content) if isinstance(content, list) else content or "",
        model=completion.model or request.model,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=_cached(usage.prompt_tokens_details),
        finish_reason=choice.finish_reason,
        logprobs=_logprobs(choice.logprobs.content if choice.logprobs else None),
    )


def read_response(request: ChatRequest, body: str) -> ChatReply:
    """Return the reply of a response's body. Raises EngineUnavailable if it is none or says that it failed."""
    try:
        response = _RESPONSE.decode(body)
    except msgspec.DecodeError as error:
        raise failures.malformed(request, f"the answer is not a response: {error}") from error
    if response.status in ("failed", "cancelled"):
        message, _, _ = failures.error_object(response.error)
        raise failures.malformed(
            request, f"the response {response.status}: {message or 'no reason'}"
        )
    parts = [
        part
        for output in response.output
        if output.type == "message"
        for part in output.content or ()
    ]
    usage = response.usage or _ResponsesUsage()
    logprobs = [entry for part in parts for entry in part.logprobs or ()]
    incomplete = response.incomplete_details
    return ChatReply(
        text=_joined(parts),
        model=response.model or request.model,
        prompt_tokens=usage.input_tokens or 0,
        completion_tokens=usage.output_tokens or 0,
        cached_tokens=_cached(usage.input_tokens_details),
        finish_reason=incomplete.reason if incomplete and incomplete.reason else response.status,
        logprobs=_logprobs(logprobs or None),
    )


def _joined(parts: list[_Part]) -> str:
    # Upstream puts a newline between parts, and a parser may look at lines.
    return "\n".join(part.text or "" for part in parts if part.type in ("output_text", "text"))


def _cached(details: _TokenDetails | None) -> int:
    return (details.cached_tokens or 0) if details else 0


def _logprobs(entries: list[_Logprob] | None) -> tuple[TokenLogprob, ...] | None:
    if entries is None:
        return None
    return tuple(
        TokenLogprob(
            entry.token,
            entry.logprob,
            tuple((other.token, other.logprob) for other in entry.top_logprobs or ()),
        )
        for entry in entries
    )
