"""MultiClassClassifier: the first valid class that the answer contains, exactly or nearly."""

from __future__ import annotations

from collections.abc import Sequence

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.explain import explain, question_of
from plexus_scoring.engines.portable.language.nodes import MultiClassClassifierNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.nodes.classifier import GAVE_UP, UNKNOWN
from plexus_scoring.engines.portable.state import State


class MultiClassClassifier(GraphNode[MultiClassClassifierNode]):
    """Up to `maximum_retry_count` calls in all; then the class is "unknown"."""

    def prepare(self, options: CompileOptions) -> None:  # noqa: ARG002 - nothing of it matters here
        """Check that both messages are there, as upstream needs them."""
        if len(self.messages) < 2:  # noqa: PLR2004 - system and user
            raise self.error("needs a system_message and a user_message", "name")
        self.question = question_of(self)

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask until the answer has a class."""
        fields = state.fields
        (system_key, _, system), (user_key, _, user) = self.messages
        conversation = [
            # Upstream fills the system message in with nothing: its variables are empty.
            ChatMessage("system", await self.fill(system_key, system, {}, "empty")),
            ChatMessage("user", await self.fill(user_key, user, fields, "empty")),
        ]
        limit = self.node.maximum_retry_count
        for attempt in range(1, limit + 1):
            reply = await self.ask(run, conversation)
            found = self.parse(reply.text)
            if found is not None:
                explanation = found
                if self.question is not None:
                    asked = [*conversation, ChatMessage("assistant", reply.text)]
                    values = {**fields, "classification": found}
                    explanation = await explain(self, self.question, asked, values, run)
                fields |= {
                    "classification": found,
                    "explanation": explanation,
                    "retry_count": attempt - 1,
                }
                state.undetermined = None
                return
            conversation += [
                ChatMessage("assistant", reply.text),
                ChatMessage("user", self._again(attempt)),
            ]
        fields |= {"classification": UNKNOWN, "explanation": GAVE_UP, "retry_count": limit}
        state.undetermined = UNKNOWN

    def parse(self, answer: str) -> str | None:
        """Return the class that the answer names, None if none."""
        node = self.node
        words = answer.lower().split()
        longest = max(len(name.split()) for name in node.valid_classes)
        part = " ".join(words[:longest] if node.parse_from_start else words[-longest:])
        whole = " ".join(words)
        for text in (part, whole):
            for name in node.valid_classes:
                if name.lower() in text:
                    return name
        return (
            _nearest(node.valid_classes, whole, node.fuzzy_match_threshold)
            if node.fuzzy_match
            else None
        )

    def _again(self, attempt: int) -> str:
        return (
            "You responded with an unknown classification. Please try again. This is attempt "
            f"{attempt} of {self.node.maximum_retry_count}. "
            f"Valid classes are: {', '.join(self.node.valid_classes)}."
        )


def _nearest(classes: Sequence[str], answer: str, threshold: float) -> str | None:
    from rapidfuzz import fuzz  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

    best, best_score = None, 0.0
    for name in classes:
        lower = name.lower()
        score = max(fuzz.partial_ratio(lower, answer), fuzz.ratio(lower, answer))
        if score > best_score:
            best, best_score = name, score
    return best if best_score >= threshold * 100 else None
