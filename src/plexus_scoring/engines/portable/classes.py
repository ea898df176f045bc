"""Classes of scores by name: ours, and those that installed packages bring by entry point."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

from plexus_scoring.engines.portable.base import (
    CompileOptions,
    PortableScore,
    ScoreClass,
    ScoreSource,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "plexus_scoring.scores"
GRAPH = "LangGraphScore"
OWN = (GRAPH, "KeywordClassifier", "CompositeScore", "RubricScore")
TACTUS = "TactusScore"
ELSEWHERE = {
    TACTUS: "TactusScore needs the package tactus in an environment of its own: set PLEXUS_PYTHON to the interpreter"
    " of one that has it (or Plexus), and PLEXUS_SCORING_ENGINE to auto or plexus",
}


def class_name(source: ScoreSource) -> str:
    """Return the score's class as text; a score with a graph and no class is a LangGraphScore."""
    named = source.entry.get("class")
    if named is None:
        return GRAPH if "graph" in source.entry else ""
    return str(named)


def runs(name: str, *, tactus: bool = False) -> bool:
    """Whether the portable engine has this class; `tactus`: whether something runs TactusScores."""
    return name in OWN or name in _entry_points() or (name == TACTUS and tactus)


def compile_score(source: ScoreSource, options: CompileOptions) -> PortableScore:
    """Compile a score by its class. Raises ScorecardError."""
    name = class_name(source)
    if name == GRAPH:
        from plexus_scoring.engines.portable.graph import GraphScore  # noqa: PLC0415 - only what a score uses

        return GraphScore(source, options)
    if name == "KeywordClassifier":
        from plexus_scoring.engines.portable.keyword import KeywordScore  # noqa: PLC0415

        return KeywordScore(source)
    if name == "CompositeScore":
        from plexus_scoring.engines.portable.composite import CompositeScore  # noqa: PLC0415

        return CompositeScore(source, options, compile_score)
    if name == "RubricScore":
        from plexus_scoring.engines.portable.rubric import RubricScore  # noqa: PLC0415

        return cast("PortableScore", RubricScore.compile(source))
    if name == TACTUS and options.tactus is not None:
        from plexus_scoring.engines.plexus.tactus import TactusScore  # noqa: PLC0415

        return TactusScore(source, options.tactus)
    entry_point = _entry_points().get(name)
    if entry_point is not None:
        return cast("ScoreClass", entry_point.load()).compile(source)
    if name in ELSEWHERE:
        raise source.error(ELSEWHERE[name], "class")
    if not name:
        raise source.error("has no class: say `class: LangGraphScore`, for example")
    raise source.error(
        f"the class {name!r} is not known here; there are {', '.join((*OWN, *sorted(_entry_points())))}. More come"
        f" by the entry point {ENTRY_POINTS}",
        "class",
    )


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, EntryPoint]:
    from importlib import metadata  # noqa: PLC0415 - 10 ms, and only for classes that are not ours

    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
