"""PLEXUS_SCORING_ENGINE=auto: the portable engine wherever it runs all that a score needs, else Plexus itself."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext, ScoringEngine

log = logging.getLogger(__name__)

_MAX_ANSWERS = 10_000


class PortableLike(ScoringEngine, Protocol):
    """An engine that says what it does not run."""

    def supports(self, scorecard: Scorecard, score: str) -> list[str]:
        """Return the classes that a score needs and this engine does not run. Raises NotFound, ScorecardError."""
        ...


class AutoEngine:
    """Implements `ScoringEngine` with two others.

    Args:
        portable: The engine that is asked first.
        installed: Whether the Plexus package is there.
        plexus: Makes the engine that runs it, when it is first needed.
    """

    def __init__(
        self,
        portable: PortableLike,
        *,
        installed: Callable[[], bool],
        plexus: Callable[[], ScoringEngine],
    ) -> None:
        self._portable = portable
        self._installed = installed
        self._make = plexus
        self._plexus: ScoringEngine | None = None
        self._missing: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score; see `ScoringEngine.score`.

        Raises ScorecardError, naming the class and its place, where neither engine runs it.
        """
        missing = self._missing_classes(context.scorecard, context.score)
        if not missing:
            return await self._portable.score(context)
        if self._plexus is None:
            if not self._installed():
                # It refuses the score, and says at which line of the scorecard.
                return await self._portable.score(context)
            self._plexus = self._make()
        log.info("scored by the Plexus package", extra={"needs": ", ".join(missing)})
        return await self._plexus.score(context)

    async def aclose(self) -> None:
        """Close both. Safe to call twice."""
        await self._portable.aclose()
        if self._plexus is not None:
            await self._plexus.aclose()

    def _missing_classes(self, scorecard: Scorecard, score: str) -> tuple[str, ...]:
        key = (scorecard.version, score)
        missing = self._missing.get(key)
        if missing is None:
            missing = self._missing[key] = tuple(self._portable.supports(scorecard, score))
            while len(self._missing) > _MAX_ANSWERS:
                self._missing.popitem(last=False)
        return missing
