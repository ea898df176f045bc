"""The engine of PLEXUS_SCORING_MODE=mock: a value at once, for trying the pipeline without models or scorecards."""

from __future__ import annotations

import hashlib

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext

VALUES = ("Yes", "No")


class MockEngine:
    """Implements `ScoringEngine`. The same item content and score give the same value; the scorecard is not read."""

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Return a value made of a hash. Raises InvalidRequest for an item without text."""
        if context.item.text is None:
            raise InvalidRequest(
                f"the item {context.item.id!r} has no text: there is nothing to score"
            )
        seed = f"{context.item.digest()}\0{context.score}".encode("utf-8", "surrogatepass")
        return ScoreOutcome(
            value=VALUES[hashlib.sha256(seed).digest()[0] % len(VALUES)],
            explanation="Mock mode: nothing was read and no model was asked.",
            metadata={"mock": True},
        )

    def supports(self, scorecard: Scorecard, score: str) -> list[str]:  # noqa: ARG002 - every class is as good
        """Return the classes that cannot be run: none."""
        return []

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""
