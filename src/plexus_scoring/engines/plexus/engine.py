"""The Plexus package behind the ScoringEngine port."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from plexus_scoring.engines.plexus import logs, package, resume
from plexus_scoring.engines.plexus.configuration import Configuration
from plexus_scoring.engines.plexus.loop import LoopThread
from plexus_scoring.engines.plexus.outcome import outcome_of
from plexus_scoring.model.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    InvalidRequest,
    ScorecardError,
    ScoreFailed,
    ScoringError,
    shorten,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext

log = logging.getLogger(__name__)

MAX_SCORECARDS = 32
LONGEST_SECONDS = 900.0


class PlexusEngine:
    """Implements `ScoringEngine`. The package is imported by the first score, in a thread.

    Args:
        environ: The process's settings; default: its environment.
        checkpointer_uri: PostgreSQL for LangGraph's checkpoints; None: none are kept.
        timeout: Longest time for one score without a deadline (seconds).
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        checkpointer_uri: str | None = None,
        timeout: float = LONGEST_SECONDS,
    ) -> None:
        self._environ = environ
        self._timeout = timeout
        self._loop = LoopThread("plexus")
        self._loading: asyncio.Task[package.Package] | None = None
        self._package: package.Package | None = None
        self._checkpointer = (
            resume.Checkpointer(checkpointer_uri) if checkpointer_uri is not None else None
        )
        self._configurations: OrderedDict[str, Configuration] = OrderedDict()
        self._cards: OrderedDict[tuple[str, str], Any] = OrderedDict()

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score; see `ScoringEngine.score`. Raises ConfigurationError where Plexus is not installed."""
        item = context.item
        if item.text is None:
            raise InvalidRequest(f"the item {item.id!r} has no text: there is nothing to score")
        configuration = self._configuration(context.scorecard)
        name = configuration.find(context.score)
        names = configuration.closure(name)
        deadline = time.time() + self._timeout
        if context.deadline is not None:
            deadline = min(deadline, context.deadline)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.time())):
                loaded = await self._load()
        except TimeoutError:
            raise EngineUnavailable(
                "the Plexus package is still being imported; it goes on, and the next attempt finds it there"
            ) from None
        left = max(0.0, deadline - time.time())
        try:
            return await self._loop.run(
                self._score(loaded, configuration, name, names, context), within=left
            )
        except TimeoutError:
            raise DeadlineExceeded(
                f"Plexus did not end the score {name!r} within {left:.0f} s"
            ) from None

    async def aclose(self) -> None:
        """End the thread, the connections and what was put around the process's logging. Safe to call twice."""
        self._cards.clear()
        if self._checkpointer is not None and self._package is not None:
            await self._loop.run(self._checkpointer.aclose(), within=5.0)
        await self._loop.aclose()
        logs.restore()

    async def _load(self) -> package.Package:
        if self._package is None:
            package.check()
            if self._loading is None:
                log.info("importing the Plexus package")
                self._loading = asyncio.create_task(
                    asyncio.to_thread(self._import), name="import plexus"
                )
                self._loading.add_done_callback(lambda _: setattr(self, "_loading", None))
            # Shielded: one job's end must not end the import that others wait for.
            self._package = await asyncio.shield(self._loading)
        return self._package

    def _import(self) -> package.Package:
        with logs.captured():
            loaded = package.load(self._environ)
        if self._checkpointer is not None:
            resume.teach(loaded.graph_class)
        return loaded

    async def _score(
        self,
        loaded: package.Package,
        configuration: Configuration,
        name: str,
        names: list[str],
        context: ScoreContext,
    ) -> ScoreOutcome:
        """Run on the package's own loop."""
        with logs.captured():
            async with self._resuming(context.job):
                return await self._run(loaded, configuration, name, names, context)

    async def _run(
        self,
        loaded: package.Package,
        configuration: Configuration,
        name: str,
        names: list[str],
        context: ScoreContext,
    ) -> ScoreOutcome:
        card = self._card(loaded, configuration, name, names)
        item = context.item
        try:
            results = await card.score_entire_text(
                text=item.text,
                metadata=dict(item.metadata),
                modality="Production",
                subset_of_score_names=[name],
                item=_item(item),
            )
        except ScoringError:
            raise
        except Exception as error:
            raise _translated(error, name) from error
        finally:
            # The package adds up for ever what a cached scorecard spent.
            card.cost_components.clear()
        return outcome_of(results or {}, configuration.id_of(name), name)

    @asynccontextmanager
    async def _resuming(self, job: JobKey | None) -> AsyncIterator[None]:
        """Keep the job's graphs' checkpoints until it has an outcome that another attempt would not change."""
        if self._checkpointer is None or job is None:
            yield
            return
        job_id = job.text
        await self._checkpointer.open()
        resume.set_job(self._checkpointer, job_id)
        try:
            yield
        except BaseException as error:
            if isinstance(error, ScoringError) and not error.retryable:
                await self._checkpointer.forget(job_id)
            else:
                self._checkpointer.leave(job_id)
            raise
        await self._checkpointer.forget(job_id)

    def _card(
        self, loaded: package.Package, configuration: Configuration, name: str, names: list[str]
    ) -> Any:
        """Return the package's scorecard for one score and what it depends on, made once for a version."""
        key = (configuration.scorecard.version, name)
        card = self._cards.get(key)
        if card is None:
            structure, entries = configuration.for_package(names)
            card = loaded.scorecard_class.create_instance_from_api_data(
                configuration.scorecard.id, structure, entries
            )
            # A score that is not at hand must fail, not be fetched a second time.
            card.yaml_only = True
            card.cloudwatch_logger = package.NoCloudWatch()
            for wanted in names:
                if card.score_registry.get(wanted) is None:
                    raise ScorecardError(
                        f"score {wanted!r}: Plexus has no class {_class_of(entries, wanted)!r}",
                        file=configuration.scorecard.file,
                    )
            self._cards[key] = card
            while len(self._cards) > MAX_SCORECARDS:
                self._cards.popitem(last=False)
        else:
            self._cards.move_to_end(key)
        return card

    def _configuration(self, scorecard: Scorecard) -> Configuration:
        found = self._configurations.get(scorecard.version)
        if found is None:
            found = self._configurations[scorecard.version] = Configuration(scorecard)
            while len(self._configurations) > MAX_SCORECARDS:
                self._configurations.popitem(last=False)
        return found


def _item(item: Item) -> Any:
    """Return the item as the package's input sources look at it."""
    return SimpleNamespace(
        id=item.id,
        text=item.text,
        metadata=dict(item.metadata),
        externalId=item.external_id,
        attachedFiles=list(item.attached_files),
    )


def _class_of(entries: list[dict[str, Any]], name: str) -> str:
    return next((str(entry["class"]) for entry in entries if entry["name"] == name), "")


def _translated(error: Exception, name: str) -> ScoringError:
    """Return what the package raised in our words; the score's own error is kept."""
    kind = type(error).__name__
    if kind == "SkippedScoreException":
        return DependencyUnmet(f"the score {name!r}: {shorten(str(error))}")
    if kind == "BatchProcessingPause":
        return ScoreFailed(f"the score {name!r} waits for a batch, which this service does not run")
    if "PLEXUS_ACCOUNT_KEY" in str(error):
        return ConfigurationError("Plexus scores need PLEXUS_ACCOUNT_KEY to be set")
    return ScoreFailed(f"the score {name!r}: {kind}: {shorten(str(error), 500)}")
