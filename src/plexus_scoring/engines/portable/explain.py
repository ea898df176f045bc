"""The second question of a classifier: why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import ScoreRun
from plexus_scoring.engines.portable.language.nodes import (
    MultiClassClassifierNode,
    YesOrNoClassifierNode,
)
from plexus_scoring.engines.portable.nodes.base import GraphNode

if TYPE_CHECKING:
    from plexus_scoring.engines.portable.templates import Template

Explaining = GraphNode[YesOrNoClassifierNode] | GraphNode[MultiClassClassifierNode]


def question_of(node: Explaining) -> Template | None:
    """Parse the node's `explanation_message`, if it has one. Raises ScorecardError."""
    source = node.node.explanation_message
    return node.template("explanation_message", source) if source else None


async def explain(
    node: Explaining,
    template: Template,
    conversation: Sequence[ChatMessage],
    values: Mapping[str, Any],
    run: ScoreRun,
) -> str:
    """Return the model's answer to the node's `explanation_message`, asked after the conversation."""
    question = await node.fill("explanation_message", template, values, "empty", escaping=True)
    messages = [*conversation, ChatMessage("user", question)]
    reply = await node.ask(run, messages, options=node.node.explanation_model, judging=False)
    return reply.text
