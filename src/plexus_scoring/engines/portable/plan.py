"""One job: a score and all it depends on, each run at most once, independent ones at the same time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from plexus_scoring.engines.models.base import ChatModel
from plexus_scoring.engines.portable.base import Noted, ScoreInput
from plexus_scoring.engines.portable.dependencies import DISABLED, ERROR, SKIPPED
from plexus_scoring.engines.portable.graph import GraphScore, graph_metadata
from plexus_scoring.engines.portable.ledger import AnswerCache, Ledger, Purse
from plexus_scoring.engines.portable.scorecard import ReadyScore, ReadyScorecard
from plexus_scoring.engines.portable.validation import validate
from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import (
    BudgetExceeded,
    DependencyUnmet,
    ScoreDisabled,
    ScoreFailed,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.yaml_scalars import as_written

log = logging.getLogger(__name__)

_FAILS_IN_PLEXUS = "AttributeError: 'NoneType' object has no attribute 'lower'"
_LONG_TEXT = (
    100_000  # characters from which on processors would hold up the event loop's other jobs
)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a score of the job ended. `outcome` is None where it did not run or failed.

    `noted` is what a graph knew at its end.
    """

    value: str
    outcome: ScoreOutcome | None = None
    reason: str | None = None
    noted: Noted = msgspec.field(default_factory=Noted)
    cost: Cost = msgspec.field(default_factory=Cost)

    @property
    def stored_explanation(self) -> str | None:
        """The outcome's explanation.

        A graph's yields to an `explanation` of the item's own metadata, as upstream's, unless the score's own code
        gave it.
        """
        if self.outcome is None:
            return None
        told = self.outcome.explanation
        if not self.noted.explained:
            told = self.noted.fields.get("explanation", told)
        return None if told is None else str(told)

    @property
    def seen(self) -> str:
        """The value that dependent scores see."""
        return ERROR if self.noted.fails_in_plexus else self.value

    def as_result(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return what dependent scores see in `results`, in the shape of upstream's Score.Result.

        Args:
            entry: The score as its author wrote it. Its plain values (name, id, model, …) are the `parameters`.
        """
        # Where Plexus fails by a fault of its own, we have a value, and its dependents see what they see there.
        failed = self.noted.fails_in_plexus
        outcome = None if failed else self.outcome
        metadata: dict[str, Any] = {}
        if outcome is not None:
            metadata = {
                **outcome.metadata,
                "explanation": outcome.explanation,
                **self.noted.fields,
                "cost": msgspec.json.decode(msgspec.json.encode(self.cost)),  # noqa: TID251  of no type
            }
        return {
            "parameters": {
                key: as_written(value)
                for key, value in entry.items()
                if not isinstance(value, Mapping | list)
            },
            "value": self.seen,
            "explanation": outcome.explanation if outcome else None,
            "confidence": outcome.confidence if outcome else None,
            "metadata": metadata,
            "error": (_FAILS_IN_PLEXUS if failed else self.reason) if outcome is None else None,
            "code": "403" if self.value == DISABLED else None,
        }


class Plan:
    """What a job runs, in which order."""

    def __init__(self, scorecard: ReadyScorecard, target: str) -> None:
        """Find the dependencies. Raises ScorecardError, ScoreDisabled."""
        self.scorecard = scorecard
        self.target = target
        self.names = scorecard.closure(target)
        if scorecard.disabled(target):
            raise ScoreDisabled(f"the score {target!r} is disabled in the scorecard")
        self.scores: dict[str, ReadyScore] = {}

    async def compile(self) -> None:
        """Compile what no earlier job has compiled, in a thread: code may do much at its top level.

        Raises ScorecardError, BudgetExceeded.
        """
        wanted = [name for name in self.names if not self.scorecard.disabled(name)]
        if self.scorecard.has_ready(wanted):
            self._compile(wanted)
        else:
            await asyncio.to_thread(self._compile, wanted)

    def _compile(self, names: list[str]) -> None:
        self.scores = {name: self.scorecard.ready(name) for name in names}

    async def run(
        self, item: Item, models: ChatModel, purse: Purse, cache: AnswerCache
    ) -> ScoreOutcome:
        """Return the target's outcome.

        Raises:
            DependencyUnmet: a dependency's value is not what the target asks for.
            ScoreFailed: the target itself has no value.
            EngineUnavailable, BudgetExceeded, …: from any score of the job; the others are stopped.
        """
        job = _Job(self, item, models, purse, cache)
        if len(self.names) == 1:
            done = await job.compute(self.target)
        else:
            done = await job.run_all()
        return job.outcome(done)


class _Job:
    def __init__(
        self, plan: Plan, item: Item, models: ChatModel, purse: Purse, cache: AnswerCache
    ) -> None:
        self.plan = plan
        self.item = item
        self.models = models
        self.purse = purse
        self.cache = cache
        self.done: dict[str, Done] = {}
        self.failure: ScoreFailed | None = None

    async def run_all(self) -> Done:
        """Run every score as soon as its dependencies are done."""
        ended = {name: asyncio.Event() for name in self.plan.names}

        async def one(name: str) -> None:
            for dependency in self.plan.scorecard.dependencies(name):
                await ended[dependency.name].wait()
            self.done[name] = await self.compute(name)
            ended[name].set()

        try:
            async with asyncio.TaskGroup() as group:
                for name in self.plan.names:
                    group.create_task(one(name))
        except* Exception as errors:  # noqa: BLE001 - the first of them is what ends the job
            raise _first(errors) from None
        return self.done[self.plan.target]

    async def compute(self, name: str) -> Done:
        """Run one score, or say why it does not run."""
        unmet = self._unmet(name)
        if unmet:
            return Done(value=SKIPPED, reason=unmet)
        if name not in self.plan.scores:
            return Done(value=DISABLED, reason=f"Score '{name}' is disabled")
        ready = self.plan.scores[name]
        ledger = Ledger(name, self.models, self.purse, self.cache)
        try:
            given = await self._given(ready)
            outcome = ledger.complete(await ready.score.score(given, ledger))
            await validate(outcome, ready.validation)
        except BudgetExceeded:
            raise
        except ScoreFailed as error:
            if name == self.plan.target:
                self.failure = error
            else:
                log.warning("the score %r failed: %s", name, error.message)
            return Done(value=ERROR, reason=error.message, cost=ledger.cost(ready.order))
        if ledger.noted.fails_in_plexus and name != self.plan.target:
            log.warning(
                "the score %r is ERROR in Plexus (a condition looks at a classification that nothing set):"
                " the scores that depend on it see ERROR",
                name,
            )
        return Done(
            value=outcome.value,
            outcome=outcome,
            noted=ledger.noted if isinstance(ready.score, GraphScore) else Noted(),
            cost=ledger.cost(ready.order),
        )

    def _unmet(self, name: str) -> str | None:
        for dependency in self.plan.scorecard.dependencies(name):
            condition = dependency.condition
            value = self.done[dependency.name].seen
            if condition is not None and not condition.holds(value):
                return f"{dependency.name!r} is {value!r}, and {name!r} asks for {condition}"
        return None

    async def _given(self, ready: ReadyScore) -> ScoreInput:
        source = ready.source
        text = self.item.text or ""
        metadata = graph_metadata(
            self.item.metadata,
            scorecard=self.plan.scorecard.name,
            score=source.name,
            account=self.item.account_id,
        )
        if ready.processors:
            from plexus_scoring.engines.portable.processors import (  # noqa: PLC0415 - only what a score uses
                apply_processors,
            )

            if len(text) > _LONG_TEXT:
                text, metadata = await asyncio.to_thread(
                    apply_processors, ready.processors, text, metadata
                )
            else:
                text, metadata = apply_processors(ready.processors, text, metadata)
        results = {
            dependency.name: self.done[dependency.name].as_result(
                self.plan.scorecard.sources[dependency.name].entry
            )
            for dependency in self.plan.scorecard.dependencies(source.name)
            if self.done[dependency.name].value != SKIPPED
        }
        return ScoreInput(text=text, metadata=metadata, results=results)

    def outcome(self, done: Done) -> ScoreOutcome:
        """Return the target's outcome with all costs, or raise why it has none."""
        if done.outcome is None:
            if done.value == SKIPPED:
                raise DependencyUnmet(done.reason or "a dependency is unmet")
            raise self.failure or ScoreFailed(done.reason or "the score failed")
        others = [ended.cost for name, ended in self.done.items() if name != self.plan.target]
        cost = done.cost if done.cost.llm_calls else done.outcome.cost
        return msgspec.structs.replace(
            done.outcome,
            explanation=done.stored_explanation,
            cost=cost,
            dependencies_cost=Cost.total(others),
        )


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
