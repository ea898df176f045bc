"""The second question of a classifier: why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import ScoreRun
from plexus_scoring.engines.portable.language.nodes import (
    MultiClassClassifierNode,
    YesOrNoClassifierNode,
)
from plexus_scoring.engines.portable.nodes.base import GraphNode


async def explain(
    node: GraphNode[YesOrNoClassifierNode] | GraphNode[MultiClassClassifierNode],
    conversation: Sequence[ChatMessage],
    values: Mapping[str, Any],
    run: ScoreRun,
) -> str:
    """Return the model's answer to the node's `explanation_message`, asked after the conversation."""
    template = node.node.explanation_message or ""
    question = await node.fill("explanation_message", template, values, "empty", escaping=True)
    messages = [*conversation, ChatMessage("user", question)]
    reply = await node.ask(run, messages, options=node.node.explanation_model)
    return reply.text
