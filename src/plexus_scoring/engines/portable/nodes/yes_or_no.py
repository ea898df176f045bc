"""YesOrNoClassifier: the last (or first) "yes" or "no" of the answer."""

from __future__ import annotations

import logging
from typing import Any

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.explain import explain, question_of
from plexus_scoring.engines.portable.language.nodes import YesOrNoClassifierNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.nodes.classifier import GAVE_UP, UNKNOWN
from plexus_scoring.engines.portable.state import State
from plexus_scoring.model.errors import BudgetExceeded, ScoreFailed

log = logging.getLogger(__name__)


class YesOrNoClassifier(GraphNode[YesOrNoClassifierNode]):
    """One call. An answer with neither word is "unknown" at once: retries are for failed calls and withheld answers."""

    def prepare(self, options: CompileOptions) -> None:  # noqa: ARG002 - nothing of it matters here
        """Parse the question for an explanation."""
        self.question = question_of(self)

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask, parse, and explain where an explanation is asked for."""
        fields = state.fields
        if self.node.maximum_retry_count < 1:  # upstream's loop then never asks
            self._set(state, UNKNOWN, GAVE_UP)
            return
        try:
            messages = await self.render({**fields, "retry_feedback": ""}, "raise")
        except BudgetExceeded:
            raise
        except ScoreFailed as error:  # upstream goes on with "unknown", and says why
            log.warning("%s", error.message)
            self._set(state, UNKNOWN, f"Error: {error.message}")
            return
        reply = await self.ask(run, messages, tries=self.node.maximum_retry_count)
        if reply.withheld is not None:
            self._set(state, UNKNOWN, reply.withheld)
            return
        word = yes_or_no(reply.text, from_start=bool(self.node.parse_from_start))
        explanation = reply.text
        if word != UNKNOWN and self.question is not None:
            asked = [
                ChatMessage("user", await self._as_text(fields["text"])),
                ChatMessage("assistant", word),
            ]
            values = {**fields, "classification": word, "explanation": reply.text}
            explanation = await explain(self, self.question, asked, values, run)
        self._set(state, word, explanation)

    def _set(self, state: State, word: str, explanation: str) -> None:
        state.fields["classification"] = word
        state.fields["explanation"] = explanation
        state.undetermined = UNKNOWN if word == UNKNOWN else None

    async def _as_text(self, text: Any) -> str:
        """Return the prompt as one text, filled in with the item's text only, as upstream asks for explanations."""
        roles = {"system": "System", "user": "Human"}
        return "\n".join(
            [
                f"{roles[role]}: {await self.fill(key, template, {'text': text}, 'empty')}"
                for key, role, template in self.messages
            ]
        )


def yes_or_no(answer: str, *, from_start: bool) -> str:
    """Return "yes", "no" or "unknown"."""
    kept = "".join(char.lower() for char in answer if char.isalnum() or char.isspace())
    words = kept.split()
    ordered = words if from_start else reversed(words)
    return next((word for word in ordered if word in ("yes", "no")), UNKNOWN)
