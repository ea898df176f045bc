"""Conversations as Anthropic and Bedrock take them: one system text, then turns that alternate, a user's first."""

from __future__ import annotations

from collections.abc import Sequence

from plexus_scoring.engines.models.base import ChatMessage

DEFAULT_MAX_TOKENS = 1_024


def split(messages: Sequence[ChatMessage]) -> tuple[str, list[tuple[str, str]]]:
    """Return the system text and the turns as (role, text).

    Blank messages are left out and neighbours of one role joined, because these providers refuse both. With no
    user's turn at the start, the system text becomes it.
    """
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    for message in messages:
        if not message.content.strip():
            continue
        if message.role == "system":
            system.append(message.content)
        elif turns and turns[-1][0] == message.role:
            turns[-1] = (message.role, f"{turns[-1][1]}\n\n{message.content}")
        else:
            turns.append((message.role, message.content))
    text = "\n\n".join(system)
    if not turns or turns[0][0] != "user":
        return "", [("user", text or "Begin."), *turns]
    return text, turns
