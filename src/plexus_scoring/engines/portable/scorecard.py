"""A scorecard made ready to score: its scores found, compiled when they are first needed, and kept by version."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plexus_scoring.engines.portable import classes
from plexus_scoring.engines.portable.base import CompileOptions, PortableScore, ScoreSource
from plexus_scoring.engines.portable.dependencies import Dependency, find_cycle, read_dependencies
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.language.scores import Score, Validation
from plexus_scoring.engines.portable.validation import check_patterns
from plexus_scoring.model.errors import NotFound, ScorecardError
from plexus_scoring.model.scorecard import Scorecard, composed, folded
from plexus_scoring.model.scorecard_yaml import read_document, score_entries
from plexus_scoring.model.yaml_document import YamlDocument

KEPT_SCORECARDS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyScore:
    """A compiled score with what is done around it."""

    source: ScoreSource
    score: PortableScore
    processors: Sequence[Mapping[str, Any]]
    validation: Validation | None

    @property
    def order(self) -> tuple[str, ...]:
        """The order in which costs are listed: that of the graph's nodes."""
        return getattr(self.score, "order", ())


class ReadyScorecard:
    """One version of a scorecard."""

    def __init__(self, scorecard: Scorecard, options: CompileOptions) -> None:
        """Parse the text. Raises ScorecardError."""
        self.name = scorecard.name
        self.options = options
        document = read_document(scorecard.source, file=scorecard.file)
        entries = score_entries(document, file=scorecard.file)
        whole = "scores" in document.data
        self._processors = document.data.get("processors") if whole else None
        self.sources = {
            str(entry["name"]).strip(): _source(
                entry, index if whole else None, document, scorecard
            )
            for index, entry in enumerate(entries)
        }
        self._folded = {folded(name): name for name in reversed(self.sources)}
        self._references = references(self.sources)
        self._ready: dict[str, ReadyScore] = {}
        self._dependencies: dict[str, tuple[Dependency, ...]] = {}

    def find(self, reference: str) -> str:
        """Return the name of the score that a job means by name, key, id or external id. Raises NotFound."""
        if reference in self.sources:
            return reference
        found = self._references.get(composed(reference)) or self._folded.get(folded(reference))
        if found is None:
            raise NotFound(
                f"no score {reference!r} on the scorecard {self.name!r}; it has {', '.join(self.sources)}"
            )
        return found

    def dependencies(self, name: str) -> tuple[Dependency, ...]:
        """Return a score's direct dependencies.

        A name that is no score of this scorecard is left out, with its condition, as Plexus leaves it out: a team's
        values must not change with the engine. The job's log warns of it, and lint calls it an error.
        """
        known = self._dependencies.get(name)
        if known is None:
            known = tuple(
                Dependency(found, wanted.condition)
                for wanted in read_dependencies(self.sources[name].entry.get("depends_on"))
                if (found := self._dependency(name, wanted.name)) is not None
            )
            self._dependencies[name] = known
        return known

    def closure(self, name: str) -> list[str]:
        """Return the score and all that it depends on. Raises ScorecardError for a cycle."""
        found = [name]
        for known in found:
            found.extend(
                dependency.name
                for dependency in self.dependencies(known)
                if dependency.name not in found
            )
        cycle = find_cycle(
            name, {one: [dependency.name for dependency in self.dependencies(one)] for one in found}
        )
        if cycle:
            raise self.sources[cycle[0]].error(
                f"depends on itself: {' → '.join(cycle)}; take one of these out of depends_on",
                "depends_on",
            )
        return found

    def disabled(self, name: str) -> bool:
        """Whether the score is switched off."""
        entry = self.sources[name].entry
        return (entry.get("disabled") or entry.get("isDisabled")) is True

    def ready(self, name: str) -> ReadyScore:
        """Return the compiled score. Raises ScorecardError."""
        ready = self._ready.get(name)
        if ready is None:
            ready = self._ready[name] = self._compile(self.sources[name])
        return ready

    def has_ready(self, names: Iterable[str]) -> bool:
        """Whether all these scores are compiled already."""
        return all(name in self._ready for name in names)

    def _compile(self, source: ScoreSource) -> ReadyScore:
        common = read(Score, {**source.entry, "class": classes.class_name(source)}, source)
        problem = input_source_problem(source)
        if problem:
            raise source.error(problem, "item", "class")
        if common.validation:
            check_patterns(common.validation, source)
        return ReadyScore(
            source=source,
            score=classes.compile_score(source, self.options),
            processors=self._processors_of(source.entry),
            validation=common.validation,
        )

    def _processors_of(self, entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the first processors found on the item, the data or the scorecard; an empty list counts as found."""
        for place in (entry.get("item"), entry.get("data"), {"processors": self._processors}):
            if isinstance(place, Mapping) and "processors" in place:
                return place["processors"] or ()
        return ()

    def _dependency(self, score: str, name: str) -> str | None:
        if name in self.sources:
            return name
        found = self._folded.get(folded(name)) or self._references.get(composed(name))
        if found is None:
            log.warning(
                "score %r depends on %r, which is no score of this scorecard: ignored", score, name
            )
        return found


def _source(
    entry: Mapping[str, Any], index: int | None, document: YamlDocument, scorecard: Scorecard
) -> ScoreSource:
    return ScoreSource(
        entry=entry,
        name=str(entry["name"]).strip(),
        scorecard=scorecard.name,
        document=document,
        path=() if index is None else ("scores", index),
        file=scorecard.file,
    )


def references(sources: Mapping[str, ScoreSource]) -> dict[str, str]:
    """Return the names of scores by what else names them: id, key, external id."""
    found: dict[str, str] = {}
    for key in ("externalId", "external_id", "id", "key"):
        for name, source in sources.items():
            value = source.entry.get(key)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                found[composed(str(value))] = name
    return found


def input_source_problem(source: ScoreSource) -> str | None:
    """Return why the score cannot read its item here, None if it can."""
    item = source.entry.get("item")
    named = item.get("class") if isinstance(item, Mapping) else None
    return f"the input source {str(named)!r} runs on the plexus engine only" if named else None


class ScorecardCache:
    """Ready scorecards by version, the least used dropped first; broken ones are kept as their error.

    Threads may share it.
    """

    def __init__(self, options: CompileOptions, *, size: int = KEPT_SCORECARDS) -> None:
        self._options = options
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str | None], ReadyScorecard | ScorecardError] = (
            OrderedDict()
        )

    async def prepared(self, scorecard: Scorecard) -> ReadyScorecard:
        """Return the scorecard made ready, parsed in a thread: a long one takes seconds. Raises ScorecardError."""
        if (scorecard.version, scorecard.file) not in self._kept:
            return await asyncio.to_thread(self.get, scorecard)
        return self.get(scorecard)

    def get(self, scorecard: Scorecard) -> ReadyScorecard:
        """Return the scorecard made ready. Raises ScorecardError."""
        key = (scorecard.version, scorecard.file)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is None:
            try:
                kept = ReadyScorecard(scorecard, self._options)
            except ScorecardError as error:
                kept = error
            with self._lock:
                kept = self._kept.setdefault(key, kept)
                if len(self._kept) > self._size:
                    self._kept.popitem(last=False)
        if isinstance(kept, ScorecardError):
            raise kept
        return kept
