"""Generator: keeps what the model answers."""

from __future__ import annotations

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import ScoreRun
from plexus_scoring.engines.portable.language.nodes import GeneratorNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.state import State

_GAVE_UP = "Failed to generate a valid completion after maximum retry attempts."


class Generator(GraphNode[GeneratorNode]):
    """One call and, after empty answers, up to `maximum_retry_count` more."""

    aliases_inside = False

    async def work(self, state: State, run: ScoreRun) -> bool:
        """Ask until there is an answer. True where upstream applies `output` inside the node."""
        history: list[ChatMessage] = []
        fields = state.fields
        for attempt in range(self.node.maximum_retry_count + 1):
            fields["retry_count"] = attempt
            first = await self.render(fields, "empty", required=True)
            reply = await self.ask(run, [*(first[:2] if history else first), *history])
            fields |= {"completion": None, "explanation": None}
            if reply.text.strip():
                fields["completion"] = reply.text
                state.log_node(self.name, {"explanation": reply.text})
                return False
            history.append(ChatMessage("user", self._again(attempt + 1)))
        fields |= {"completion": _GAVE_UP, "explanation": _GAVE_UP}
        return True

    def _again(self, attempt: int) -> str:
        return (
            "Please try generating a response again. "
            f"This is attempt {attempt} of {self.node.maximum_retry_count}."
        )
