"""An engine that is made when the first score needs it.

A function container that only answers redeliveries, sweeps, or refuses bad messages never pays for the engine's
imports, and a cold start reads its first message that much sooner.
"""

from __future__ import annotations

from collections.abc import Callable

from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.ports import ScoreContext, ScoringEngine


class DeferredEngine:
    """A `ScoringEngine` that makes another one, once."""

    def __init__(self, make: Callable[[], ScoringEngine]) -> None:
        """Call `make` when the first score comes; what it raises fails that score, and the next one tries again."""
        self._make = make
        self._engine: ScoringEngine | None = None

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score. Raises what the engine and the making of it raise."""
        if self._engine is None:
            self._engine = self._make()
        return await self._engine.score(context)

    async def aclose(self) -> None:
        """Close the engine if it was made. Safe to call twice."""
        if self._engine is not None:
            await self._engine.aclose()
