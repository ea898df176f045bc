"""Where a graph goes after each node, and what is set on the way.

Upstream's rules (plexus/scores/LangGraphScore.py, `add_edges` and `build_compiled_workflow`): on a node that is not
last, `output` beats `conditions` beats `edge`; the last node's `output` counts only where it has neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language.nodes import Condition, Edge, Node
from plexus_scoring.engines.portable.state import State


class Target(IntEnum):
    """Targets that are no node's index."""

    END = -1  # the score's output is applied, then the graph ends
    STOP = -2  # the graph ends as it is


@dataclass(frozen=True)
class Step:
    """A way out of a node: what is set, where it goes, and the condition that chose it."""

    target: int
    output: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    condition: Condition | None = None

    def apply(self, state: State) -> int:
        """Set the fields, write the trace, and return the target."""
        done = state.alias(self.output)
        if self.condition is not None:
            state.log(
                {
                    "node_name": self.name,
                    "input": {"condition_triggered": True},
                    "output": done,
                    "condition": {
                        "state_field": self.condition.state or "classification",
                        "trigger_value": self.condition.value,
                        "target_node": self.condition.node or "END",
                    },
                }
            )
        return self.target


@dataclass(frozen=True)
class Route:
    """All ways out of a node."""

    default: Step
    cases: Mapping[str, Step] = field(default_factory=dict)

    def choose(self, state: State) -> Step:
        """Return the way for the state's classification."""
        if not self.cases:
            return self.default
        classification = state.lower("classification")
        return (
            self.default if classification is None else self.cases.get(classification, self.default)
        )

    @property
    def targets(self) -> set[int]:
        """Where this node can lead."""
        return {self.default.target, *(step.target for step in self.cases.values())}


def compile_routes(nodes: Sequence[Node], source: ScoreSource) -> tuple[Route, ...]:
    """Return the ways out of each node. Raises ScorecardError for a target that is no node."""
    index = {node.name: position for position, node in enumerate(nodes)}
    return tuple(
        _Router(node, position, len(nodes), index, source).route()
        for position, node in enumerate(nodes)
    )


class _Router:
    def __init__(
        self, node: Node, position: int, count: int, index: Mapping[str, int], source: ScoreSource
    ) -> None:
        self.node = node
        self.position = position
        self.last = position == count - 1
        self.next = int(Target.END) if self.last else position + 1
        self.index = index
        self.source = source

    def route(self) -> Route:
        node = self.node
        if not self.last and node.output is not None:
            return Route(Step(self.next, node.output))
        if node.conditions is not None:
            return Route(self._edge(node.edge), self._cases(node.conditions))
        if node.edge is not None:
            if not self.last or (node.edge.node == "END" and node.edge.output is not None):
                return Route(self._edge(node.edge))
            return Route(Step(int(Target.STOP)))
        return Route(Step(self.next, node.output or {}))

    def _cases(self, conditions: Sequence[Condition]) -> dict[str, Step]:
        cases = {}
        for number, condition in enumerate(conditions):  # of two for one value, the last wins
            cases[condition.value.lower()] = Step(
                self._target(condition.node, "conditions", number, "node"),
                condition.output or {},
                f"{self.node.name}_value_setter_{number}",
                condition,
            )
        return cases

    def _edge(self, edge: Edge | None) -> Step:
        if edge is None:
            return Step(self.next)
        return Step(self._target(edge.node, "edge", "node"), edge.output or {})

    def _target(self, name: str | None, *path: Any) -> int:
        if name is None:
            return self.next
        if name in self.index:
            return self.index[name]
        if name == "END":
            return int(Target.END)
        raise self.source.error(
            f"node {self.node.name!r} leads to {name!r}, which is no node of this graph; its nodes are "
            f"{', '.join(self.index)} and END",
            "graph",
            self.position,
            *path,
        )
