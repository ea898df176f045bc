"""The portable engine: runs Plexus scorecards without Plexus."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING

from plexus_scoring.engines.models.limiter import FLOW
from plexus_scoring.engines.models.turns import TURNS, TurnClock
from plexus_scoring.engines.portable.base import CompileOptions
from plexus_scoring.engines.portable.classes import class_name, runs
from plexus_scoring.engines.portable.code.interpreter import Interpreter
from plexus_scoring.engines.portable.code.program import ACCOUNT
from plexus_scoring.engines.portable.ledger import AnswerCache, Budget, Purse
from plexus_scoring.engines.portable.plan import Plan
from plexus_scoring.engines.portable.scorecard import ScorecardCache
from plexus_scoring.engines.portable.templates.pool import POOL
from plexus_scoring.model.errors import DeadlineExceeded, InvalidRequest
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext

if TYPE_CHECKING:
    from plexus_scoring.engines.models.base import ChatModel
    from plexus_scoring.engines.plexus.tactus import TactusRunner

log = logging.getLogger(__name__)
_unnamed = itertools.count(1)


class PortableEngine:
    """Implements `ScoringEngine`.

    Args:
        models: Where model calls go. Closed with the engine.
        trust_code: Whether Python in scorecards runs in this process, without limits.
        budget: What one job may use.
        tactus: Runs TactusScores; None: they are refused. Closed with the engine.
    """

    def __init__(
        self,
        models: ChatModel,
        *,
        trust_code: bool = False,
        budget: Budget | None = None,
        tactus: TactusRunner | None = None,
    ) -> None:
        self._models = models
        self._budget = budget or Budget()
        self._interpreter = None if trust_code else Interpreter()
        self._tactus = tactus
        self._options = CompileOptions(interpreter=self._interpreter, tactus=tactus)
        self._scorecards = ScorecardCache(self._options)

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score; see `ScoringEngine.score`."""
        _check_item(context.item)
        scorecard = await self._scorecards.prepared(context.scorecard)
        name = scorecard.find(context.score)
        plan = Plan(scorecard, name)
        turns = TurnClock()
        purse = Purse(self._budget, context.deadline, turns)
        cache = AnswerCache(context.checkpoints, context.job)
        left = None if purse.deadline is None else max(0.0, purse.deadline - time.time())
        # Jobs take turns at a provider; the tasks of this one inherit its name.
        account = ACCOUNT.set(context.job.account if context.job else "")
        flow = FLOW.set(context.job.text if context.job else f"unnamed-{next(_unnamed)}")
        waits = TURNS.set(turns)
        try:
            async with asyncio.timeout(left) as limit:
                await plan.compile()
                return await plan.run(context.item, self._models, purse, cache)
        except TimeoutError:
            if limit.expired():
                raise purse.late() from None
            raise
        except DeadlineExceeded as error:  # the router's own clock was the first
            if turns.mostly:
                raise purse.late() from error
            raise
        finally:
            TURNS.reset(waits)
            FLOW.reset(flow)
            ACCOUNT.reset(account)

    def supports(self, scorecard: Scorecard, score: str) -> list[str]:
        """Return the classes and input sources, of the score and its dependencies, that this engine does not run.

        Raises NotFound, ScorecardError.
        """
        ready = self._scorecards.get(scorecard)
        missing = []
        for name in ready.closure(ready.find(score)):
            found = class_name(ready.sources[name])
            if not runs(found, tactus=self._tactus is not None) and found not in missing:
                missing.append(found)
            item = ready.sources[name].entry.get("item")
            source = item.get("class") if isinstance(item, dict) else None
            if source and str(source) not in missing:
                missing.append(str(source))
        return missing

    async def aclose(self) -> None:
        """Close the models' connections, and end the processes that run scorecards' code, templates and Lua."""
        if self._interpreter is not None:
            await self._interpreter.aclose()
        if self._tactus is not None:
            await self._tactus.aclose()
        await self._models.aclose()
        await asyncio.to_thread(POOL.close)


def _check_item(item: Item) -> None:
    if item.text is None:
        raise InvalidRequest(f"the item {item.id!r} has no text: there is nothing to score")
    if not isinstance(item.metadata, dict):
        raise InvalidRequest(
            f"the item {item.id!r}: its metadata is no JSON object but {type(item.metadata).__name__}"
        )
