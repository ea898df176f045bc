"""What a score class is, for the classes here and for those that come by the entry point `plexus_scoring.scores`.

An entry point names an object with `compile`, called once for each score of a scorecard that uses the class; what
it returns is asked once for each job. Both may raise any error of `plexus_scoring.model.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.yaml_document import YamlDocument

if TYPE_CHECKING:
    from plexus_scoring.engines.plexus.tactus import TactusRunner
    from plexus_scoring.engines.portable.code.interpreter import Interpreter


@dataclass(frozen=True, kw_only=True)
class ScoreSource:
    """A score as the scorecard's author wrote it, with the place of every key.

    Attributes:
        entry: The score's own mapping, keys as in the YAML.
        name: The score's name.
        scorecard: The scorecard's name.
        path: Where `entry` is in `document`.
    """

    entry: Mapping[str, Any]
    name: str
    scorecard: str
    document: YamlDocument
    path: tuple[Any, ...] = ()
    file: str | None = None

    def error(self, message: str, *path: Any) -> ScorecardError:
        """Return an error that points at `path` below this score."""
        place = self.document.find((*self.path, *path))
        return ScorecardError(
            f"score {self.name!r}: {message}", file=self.file, line=place.line, column=place.column
        )


class ScoreInput(msgspec.Struct, frozen=True, kw_only=True):
    """What a score is asked about.

    Attributes:
        text: The item's text, after processors.
        metadata: The item's metadata, after processors, with `account_key`, `scorecard_name` and `score_name`.
        results: Results of the direct dependencies by name, each a mapping with `value`, `explanation`,
            `confidence`, `metadata`, `error`, `code`; skipped ones are absent.
    """

    text: str
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    results: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph knew at its end, beside its outcome.

    Attributes:
        fields: For templates of the scores that depend on it, which read them as `metadata`.
        explained: Whether the explanation is one that the score's own code gave.
        fails_in_plexus: Whether Plexus ends this run with ERROR. Dependent scores then see ERROR.
    """

    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    explained: bool = False
    fails_in_plexus: bool = False


class ScoreRun(Protocol):
    """One run of a score for one job: the way to the models, under the job's budget."""

    @property
    def deadline(self) -> float | None:
        """When the run must have ended, in seconds since the epoch; None: never."""
        ...

    def note(self, noted: Noted) -> None:
        """Keep what the score knew at its end."""
        ...

    async def ask(self, component: str, request: ChatRequest, *, judging: bool = True) -> ChatReply:
        """Ask a model. The call is counted for `component` (a node's name), and kept for a retried job.

        Where the last answer of a component was cut or withheld, the outcome is marked undetermined; an answer that
        no value comes from is not `judging`.

        Raises:
            BudgetExceeded: the job's calls, tokens or USD are used up.
            EngineUnavailable, ScoreFailed, ConfigurationError, DeadlineExceeded: as `ChatModel.chat`.
        """
        ...


class PortableScore(Protocol):
    """A compiled score. It keeps nothing of a run, so that many may go on at the same time."""

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:
        """Return the outcome. `cost` may be left empty: calls made through `run` are counted by it."""
        ...


class ScoreClass(Protocol):
    """What an entry point of `plexus_scoring.scores` names."""

    def compile(self, source: ScoreSource) -> PortableScore:
        """Check the configuration and return the score. Raises ScorecardError."""
        ...


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What the engine has that compiling depends on.

    Attributes:
        interpreter: Where Python in scorecards runs; None: in this process, because the operator trusts the authors.
        tactus: Runs TactusScores; None: they are refused.
    """

    interpreter: Interpreter | None
    tactus: TactusRunner | None = None
