"""PLEXUS_SCORING_ENGINE=auto: the portable engine wherever it runs all that a score needs, else Plexus itself."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
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


class PlexusLike(ScoringEngine, Protocol):
    """An engine that runs Plexus, where Plexus is installed."""

    async def holds_plexus(self) -> bool:
        """Whether Plexus is installed. Raises ConfigurationError where that cannot be told."""
        ...


class AutoEngine:
    """Implements `ScoringEngine` with two others.

    Args:
        portable: The engine that is asked first.
        plexus: The engine that runs Plexus. It is asked nothing before it is needed.
    """

    def __init__(self, portable: PortableLike, plexus: PlexusLike) -> None:
        self._portable = portable
        self._plexus = plexus
        self._missing: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score; see `ScoringEngine.score`.

        Raises ScorecardError, naming the class and its place, where neither engine runs it.
        """
        missing = await self._missing_classes(context.scorecard, context.score)
        if not missing or not await self._plexus.holds_plexus():
            # It refuses what it does not run, and says at which line of the scorecard.
            return await self._portable.score(context)
        log.info("scored by Plexus itself", extra={"needs": ", ".join(missing)})
        return await self._plexus.score(context)

    async def aclose(self) -> None:
        """Close both. Safe to call twice."""
        await self._portable.aclose()
        await self._plexus.aclose()

    async def _missing_classes(self, scorecard: Scorecard, score: str) -> tuple[str, ...]:
        key = (scorecard.version, score)
        missing = self._missing.get(key)
        if missing is None:
            # It parses the scorecard, which takes seconds where that is long.
            found = await asyncio.to_thread(self._portable.supports, scorecard, score)
            missing = self._missing[key] = tuple(found)
            while len(self._missing) > _MAX_ANSWERS:
                self._missing.popitem(last=False)
        return missing
