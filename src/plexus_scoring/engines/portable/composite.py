"""CompositeScore: a decision tree over elements, each of which is a score.

    elements:
    - {name: Asked, class: KeywordClassifier, keywords: [refund]}
    - {name: Polite, class: LangGraphScore, graph: […]}
    decision_tree:
      element: Asked
      true: {element: Polite, 'yes': 'Yes', 'no': {value: 'No', explanation: Rude.}}
      otherwise: NA

An element runs when the tree first comes to it. Branches are compared in lower case; ``true`` also stands for yes,
``false`` for no; `otherwise` takes what has no branch. Plexus's class of this name is built from Markdown files that no
scorecard can name; the tree is its, the YAML around it is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plexus_scoring.engines.portable.base import (
    CompileOptions,
    PortableScore,
    ScoreInput,
    ScoreRun,
    ScoreSource,
)
from plexus_scoring.engines.portable.language import scores as language
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.language.model_options import INHERITED
from plexus_scoring.model.errors import ScoreFailed
from plexus_scoring.model.result import ScoreOutcome

_LEAVES = {"yes": "Yes", "no": "No", "na": "NA"}
_TRUE = frozenset(("true", "yes"))
_FALSE = frozenset(("false", "no"))


@dataclass(frozen=True)
class _Leaf:
    value: str
    explanation: str | None = None


@dataclass(frozen=True)
class _Branch:
    element: str
    cases: Mapping[str, _Leaf | _Branch] = field(default_factory=dict)
    otherwise: _Leaf | _Branch | None = None

    def follow(self, value: str) -> _Leaf | _Branch | None:
        plain = value.strip().lower()
        if plain in self.cases:
            return self.cases[plain]
        for alike in (_TRUE, _FALSE):
            if plain in alike:
                for other in alike:
                    if other in self.cases:
                        return self.cases[other]
        return self.otherwise


class CompositeScore:
    """A compiled composite."""

    def __init__(
        self,
        source: ScoreSource,
        options: CompileOptions,
        compile_element: Callable[[ScoreSource, CompileOptions], PortableScore],
    ) -> None:
        """Compile the elements, each by its own class, and the tree. Raises ScorecardError."""
        self.configuration = read(language.CompositeScore, source.entry, source)
        self.source = source
        self.elements: dict[str, PortableScore] = {}
        for number, element in enumerate(self.configuration.elements):
            part = self._element(number, element)
            self.elements[str(element["name"])] = compile_element(part, options)
        self.tree = self._tree(self.configuration.decision_tree, "decision_tree")
        if isinstance(self.tree, _Leaf):
            raise source.error("decision_tree begins with an `element`", "decision_tree")

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:
        """Walk the tree."""
        results: dict[str, ScoreOutcome] = {}
        step: _Leaf | _Branch | None = self.tree
        while isinstance(step, _Branch):
            name = step.element
            if name not in results:
                results[name] = await self.elements[name].score(given, run)
            value = results[name].value
            step = step.follow(value)
            if step is None:
                raise ScoreFailed(
                    f"decision_tree: {name!r} is {value!r}, for which there is no branch and no `otherwise`"
                )
        last = list(results.values())[-1]
        return ScoreOutcome(
            value=step.value if step else "",
            explanation=(step.explanation if step else None) or last.explanation,
            trace={
                "node_results": [
                    {
                        "node_name": name,
                        "input": {},
                        "output": {"value": outcome.value, "explanation": outcome.explanation},
                    }
                    for name, outcome in results.items()
                ]
            },
            undetermined=last.undetermined,
            undetermined_reason=last.undetermined_reason,
        )

    def _element(self, number: int, element: Mapping[str, Any]) -> ScoreSource:
        name = element.get("name")
        if not isinstance(name, str) or not name.strip():
            raise self.source.error(f"element {number + 1} has no name", "elements", number)
        if name in self.elements:
            raise self.source.error(f"two elements are named {name!r}", "elements", number, "name")
        inherited = {key: self.source.entry[key] for key in INHERITED if key in self.source.entry}
        part = ScoreSource(
            entry={**inherited, **element},
            name=f"{self.source.name}/{name}",
            scorecard=self.source.scorecard,
            document=self.source.document,
            path=(*self.source.path, "elements", number),
            file=self.source.file,
        )
        if part.entry.get("class") == "CompositeScore":
            raise part.error("an element cannot be a CompositeScore: put its tree here", "class")
        return part

    def _tree(self, tree: Any, *path: Any) -> _Leaf | _Branch:
        if isinstance(tree, str):
            return _Leaf(_LEAVES.get(tree.lower(), tree))
        if not isinstance(tree, Mapping):
            raise self.source.error(f"a branch must be a value or a mapping, not {tree!r}", *path)
        if "element" not in tree:
            if "value" not in tree:
                raise self.source.error("a branch needs `element` or `value`", *path)
            explanation = tree.get("explanation")
            return _Leaf(str(tree["value"]), None if explanation is None else str(explanation))
        name = str(tree["element"])
        if name not in self.elements:
            raise self.source.error(
                f"{name!r} is no element; there are {', '.join(self.elements)}", *path, "element"
            )
        branches = {
            str(value).strip().lower(): self._tree(branch, *path, value)
            for value, branch in tree.items()
            if value != "element"
        }
        return _Branch(name, branches, branches.pop("otherwise", None))
