"""NumericClassifier: the first number of the answer, as it is written there."""

from __future__ import annotations

import re

from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.language.nodes import NumericClassifierNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.state import State

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class NumericClassifier(GraphNode[NumericClassifierNode]):
    """Sets `value` itself and leaves `classification` alone. Its prompt sees the text only."""

    def prepare(self, options: CompileOptions) -> None:  # noqa: ARG002 - nothing of it matters here
        """Check the range."""
        self.range: tuple[float, float] | None = None
        low, high = self.node.numeric_min, self.node.numeric_max
        if low is not None and high is not None:
            self.range = (self._number("numeric_min", low), self._number("numeric_max", high))

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask and parse."""
        messages = await self.render({"text": state.fields["text"]}, "raise")
        reply = await self.ask(run, messages)
        value, explanation = self.parse(reply.text)
        state.fields["value"] = value
        state.fields["explanation"] = explanation
        state.undetermined = "No" if value is None else None

    def parse(self, answer: str) -> tuple[str | None, str]:
        """Return the number and the explanation; no number where there is none in the range."""
        found = _NUMBER.search(answer)
        if not found:
            return None, "No valid numeric classification found in the output."
        number = found.group()
        if self.range and not self.range[0] <= float(number) <= self.range[1]:
            limits = f"[{self.node.numeric_min}, {self.node.numeric_max}]"
            return None, f"Number {number} is outside the valid range {limits}."
        return number, answer

    def _number(self, key: str, text: str) -> float:
        try:
            return float(text)
        except ValueError as error:
            raise self.error(f"{key} is no number: {text!r}", key) from error
