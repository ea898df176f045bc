"""What travels between us and an OpenAI-compatible server: request bodies, and the parts of replies we read."""

from __future__ import annotations

import re
from typing import Any

from plexus_scoring.engines.models import failures
from plexus_scoring.engines.models.base import ChatReply, ChatRequest, TokenLogprob
from plexus_scoring.engines.models.endings import cut_reason, ending_of, withheld_reason
from plexus_scoring.engines.models.provider_errors import ProviderError, read_error
from plexus_scoring.engines.models.reading import (
    JsonObject,
    count,
    decode,
    joined,
    mapping,
    number,
    objects,
    text,
)
from plexus_scoring.engines.models.stream import read_stream

_REASONING_MODEL = re.compile(r"gpt-5|o\d")


def is_reasoning_model(model: str) -> bool:
    """Whether this is a model of OpenAI's that upstream sends to the responses endpoint: gpt-5, o1, o3-mini, …."""
    return _REASONING_MODEL.match(model.lower()) is not None


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


def read_completion(request: ChatRequest, body: str | bytes) -> ChatReply:
    """Return the reply of a chat completion's body.

    Raises:
        EngineUnavailable: it is none, or it says that the provider failed.
        failures.Filtered: it says that a content filter refused the prompt.
    """
    answer = decode(body) or read_stream(body)
    choices = objects(mapping(answer).get("choices"))
    said = read_error(answer)
    if not choices or (mapping(answer).get("error") and (said.message or said.code)):
        raise _no_answer(request, said, "the answer has no choices")
    choice = choices[0]
    message = mapping(choice.get("message") or choice.get("delta"))
    finish_reason = text(choice.get("finish_reason"))
    if choice.get("error") or ending_of(finish_reason) == "failed":
        said = read_error(choice) if choice.get("error") else ProviderError()
        raise _no_answer(request, said, f"the answer ended with finish_reason {finish_reason!r}")
    refusal = text(message.get("refusal"))
    withheld = withheld_reason(finish_reason, refusal)
    content = message.get("content", choice.get("text"))
    said_text = joined(content, ("text", "output_text")) or text(content)
    usage = mapping(mapping(answer).get("usage"))
    prompt, completion = _tokens(usage, "prompt_tokens", "completion_tokens")
    return ChatReply(
        text="" if withheld else said_text or "",
        model=text(mapping(answer).get("model")) or request.model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")) or 0,
        finish_reason=finish_reason,
        logprobs=read_logprobs(mapping(choice.get("logprobs")).get("content")),
        cut=cut_reason(finish_reason),
        withheld=withheld,
        refusal=refusal or None,
        reasoning=_reasoning(message, content),
        reasoning_tokens=_reasoning_tokens(usage.get("completion_tokens_details")),
    )


def read_response(request: ChatRequest, body: str | bytes) -> ChatReply:
    """Return the reply of a response's body; raises as `read_completion`."""
    answer = mapping(decode(body))
    outputs = objects(answer.get("output"))
    status = text(answer.get("status"))
    if not isinstance(answer.get("output"), list) or answer.get("error") or status == "failed":
        raise _no_answer(request, read_error(answer), "the answer has no output")
    if ending_of(status) == "failed":
        raise _no_answer(request, ProviderError(), f"the response is {status!r}")
    parts = [
        part
        for output in outputs
        if output.get("type") == "message"
        for part in objects(output.get("content"))
    ]
    refusal = joined(parts, ("refusal",), key="refusal")
    incomplete = text(mapping(answer.get("incomplete_details")).get("reason"))
    finish_reason = incomplete or status
    withheld = withheld_reason(finish_reason, refusal)
    usage = mapping(answer.get("usage"))
    prompt, completion = _tokens(usage, "input_tokens", "output_tokens")
    logprobs = [entry for part in parts for entry in objects(part.get("logprobs"))]
    cut = cut_reason("incomplete" if status == "incomplete" else None, named=finish_reason)
    return ChatReply(
        text="" if withheld else joined(parts, ("output_text", "text")),
        model=text(answer.get("model")) or request.model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=count(mapping(usage.get("input_tokens_details")).get("cached_tokens")) or 0,
        finish_reason=finish_reason,
        logprobs=read_logprobs(logprobs),
        cut=None if withheld else cut,
        withheld=withheld,
        refusal=refusal or None,
        reasoning=_thought(outputs),
        reasoning_tokens=_reasoning_tokens(usage.get("output_tokens_details")),
    )


def read_logprobs(entries: Any) -> tuple[TokenLogprob, ...] | None:
    """Return the tokens with their log probabilities; what has none is left out, and nothing left is None."""
    found = []
    for entry in objects(entries):
        logprob = number(entry.get("logprob"))
        alternatives = tuple(
            (text(top.get("token")) or "", likely)
            for top in objects(entry.get("top_logprobs"))
            if (likely := number(top.get("logprob"))) is not None
        )
        if logprob is not None or alternatives:
            likely = logprob if logprob is not None else max(other for _, other in alternatives)
            found.append(TokenLogprob(text(entry.get("token")) or "", likely, alternatives))
    return tuple(found) or None


def _no_answer(request: ChatRequest, said: ProviderError, what: str) -> Exception:
    if not (said.message or said.code):
        return failures.malformed(request, what)
    return failures.of_body(request, said)


def _tokens(usage: JsonObject, prompt_name: str, completion_name: str) -> tuple[int, int]:
    """Return the tokens of prompt and answer. What only `total_tokens` counts (Gemini's thinking) is the answer's."""
    prompt, completion = count(usage.get(prompt_name)), count(usage.get(completion_name))
    total = count(usage.get("total_tokens")) or 0
    if prompt is None:
        prompt = max(0, total - (completion or 0))
    return prompt, max(completion or 0, total - prompt)


def _reasoning_tokens(details: Any) -> int:
    return count(mapping(details).get("reasoning_tokens")) or 0


def _reasoning(message: JsonObject, content: Any) -> str | None:
    """Return what the model thought, where the server keeps it apart: in a field, or as parts (Mistral)."""
    told = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(told, str) and told:
        return told
    parts = [part for part in objects(content) if part.get("type") == "thinking"]
    thoughts = [
        joined(part.get("thinking"), ("text",)) or text(part.get("thinking")) or ""
        for part in parts
    ]
    return "\n".join(thoughts).strip() or None


def _thought(outputs: list[JsonObject]) -> str | None:
    kinds = ("reasoning_text", "summary_text", "text")
    thoughts = [
        joined(output.get(key), kinds)
        for output in outputs
        if output.get("type") == "reasoning"
        for key in ("content", "summary")
    ]
    return "\n".join(thought for thought in thoughts if thought) or None
