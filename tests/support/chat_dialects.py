"""The wire forms that the scripted server speaks: OpenAI's two endpoints, Anthropic's Messages, Bedrock's Converse."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Dialect:
    """One endpoint: how its requests are read and its answers and errors written."""

    read: Callable[[Mapping[str, Any]], Messages]
    write: Callable[[str, Messages, Mapping[str, Any]], dict[str, Any]]
    error: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda error: {"error": dict(error)}


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def usage_of(messages: Messages, reply: Mapping[str, Any]) -> tuple[int, int]:
    words = sum(len(message["content"].split()) for message in messages)
    return words, len(reply.get("text", "").split())


def _listed(given: Any) -> Messages:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [{"role": message["role"], "content": text_of(message["content"])} for message in given]


def _read_with_system(request: Mapping[str, Any]) -> Messages:
    system = text_of(request.get("system"))
    first = [{"role": "system", "content": system}] if system else []
    return first + _listed(request.get("messages", []))


def _completion(model: str, messages: Messages, reply: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage_of(messages, reply)
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": reply.get("text", ""),
                    "refusal": None,
                },
                "logprobs": reply.get("logprobs"),
                "finish_reason": reply.get("finish_reason", "stop"),
            }
        ],
        "usage": reply.get("usage")
        or {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def _response(model: str, messages: Messages, reply: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage_of(messages, reply)
    content = {"type": "output_text", "text": reply.get("text", ""), "annotations": []}
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "status": reply.get("response_status", "completed"),
        "incomplete_details": reply.get("incomplete_details"),
        "error": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {"type": "reasoning", "id": "rs_scripted", "summary": []},
            {
                "type": "message",
                "id": "msg_scripted",
                "status": "completed",
                "role": "assistant",
                "content": [content],
            },
        ],
        "usage": reply.get("usage")
        or {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        },
    }


def _anthropic(model: str, messages: Messages, reply: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage_of(messages, reply)
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply.get("text", "")}],
        "stop_reason": reply.get("finish_reason", "end_turn"),
        "stop_sequence": None,
        "usage": reply.get("usage") or {"input_tokens": prompt, "output_tokens": completion},
    }


def _converse(_model: str, messages: Messages, reply: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage_of(messages, reply)
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": reply.get("text", "")}]}},
        "stopReason": reply.get("finish_reason", "end_turn"),
        "usage": reply.get("usage")
        or {
            "inputTokens": prompt,
            "outputTokens": completion,
            "totalTokens": prompt + completion,
        },
        "metrics": {"latencyMs": 1},
    }


DIALECTS = {
    "/chat/completions": Dialect(lambda request: _listed(request.get("messages", [])), _completion),
    "/responses": Dialect(lambda request: _listed(request.get("input", [])), _response),
    "/messages": Dialect(_read_with_system, _anthropic),
    "/converse": Dialect(
        _read_with_system, _converse, lambda error: {"message": error.get("message", "")}
    ),
}
