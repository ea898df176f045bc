"""Reads a chat completion that a gateway sends as server-sent events, although `stream` was false."""

from __future__ import annotations

from typing import Any

from plexus_scoring.engines.models.reading import JsonObject, decode, mapping, objects, text

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def read_stream(body: str | bytes) -> JsonObject | None:
    """Return the completion that the events are parts of; None: `body` holds no events, or they were cut off.

    A stream is whole when it told a `finish_reason`, an error or ``[DONE]``.
    """
    lines = (body if isinstance(body, str) else body.decode("utf-8", "replace")).splitlines()
    told = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    events = [mapping(decode(line)) for line in told]
    message: dict[str, str] = {}
    logprobs: list[Any] = []
    answer: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    for event in events:
        answer |= {name: value for name, value in event.items() if value is not None}
        for part in objects(event.get("choices"))[:1]:
            choice |= {name: value for name, value in part.items() if value is not None}
            delta = mapping(part.get("delta") or part.get("message"))
            for name in _TEXTS:
                if (said := text(delta.get(name))) is not None:
                    message[name] = message.get(name, "") + said
            logprobs += objects(mapping(part.get("logprobs")).get("content"))
    whole = "[DONE]" in told or choice.get("finish_reason") or answer.get("error")
    if not whole:
        return None
    choice |= {"message": message, "logprobs": {"content": logprobs}}
    return answer | {"choices": [choice] if message else None}
