"""Rules on the ways through a graph: targets, reach, loops, and routing that has no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.lint.findings import (
    Findings,
    Rule,
    Severity,
    did_you_mean,
)
from plexus_scoring.engines.portable.lint.outputs import lint_value
from plexus_scoring.engines.portable.routing import Route, Target, compile_routes


def lint_routing(
    nodes: Sequence[language.Node], fields: set[str], source: ScoreSource, findings: Findings
) -> None:
    """Report what is wrong with the ways from node to node. It needs every node of the graph."""
    for position, node in enumerate(nodes):
        _lint_precedence(node, position, len(nodes), source, findings)
    if not _targets_exist(nodes, source, findings):
        return
    routes = compile_routes(nodes, source)
    reached = _reached(routes)
    for position, node in enumerate(nodes):
        if position not in reached:
            findings.add(
                source,
                Rule.UNREACHABLE_NODE,
                f"no way leads to the node {node.name!r}",
                "lead a condition or edge to it, or take it out",
                "graph",
                position,
                severity=Severity.WARNING,
            )
    if not any(target < 0 for position in reached for target in routes[position].targets):
        findings.add(
            source,
            Rule.ENDLESS_LOOP,
            "the graph never ends: every way leads back into it",
            "lead a condition or edge to END",
            "graph",
        )
    last = len(nodes) - 1
    if routes[last].default.target == Target.STOP and source.entry.get("output"):
        findings.add(
            source,
            Rule.LOST_OUTPUT,
            "an edge of the last node that has no `output`, or does not lead to END, ends the graph before the"
            " score's own `output` is applied",
            "take the edge out, or give it `node: END` and an `output`",
            "graph",
            last,
            "edge",
            severity=Severity.WARNING,
        )
        return
    steps = [
        step
        for position in reached
        for step in (routes[position].default, *routes[position].cases.values())
    ]
    lint_value([nodes[position] for position in sorted(reached)], steps, fields, source, findings)


def _targets_exist(nodes: Sequence[language.Node], source: ScoreSource, findings: Findings) -> bool:
    """Report targets that are no node. Return whether there are none."""
    names = [node.name for node in nodes]
    exist = True
    for position, node in enumerate(nodes):
        for path, target in _targets(node):
            if target is not None and target not in ("END", *names):
                exist = False
                findings.add(
                    source,
                    Rule.UNKNOWN_NODE,
                    f"{target!r} is no node of this graph",
                    did_you_mean(target, [*names, "END"]),
                    "graph",
                    position,
                    *path,
                )
    return exist


def _reached(routes: Sequence[Route]) -> set[int]:
    """Return the positions of the nodes that a way leads to."""
    reached: set[int] = set()
    waiting = [0]
    while waiting:
        position = waiting.pop()
        if position >= 0 and position not in reached:
            reached.add(position)
            waiting.extend(routes[position].targets)
    return reached


def _lint_precedence(
    node: language.Node, position: int, count: int, source: ScoreSource, findings: Findings
) -> None:
    off = [key for key in ("conditions", "edge") if getattr(node, key) is not None]
    if node.output is not None and off and position < count - 1:
        findings.add(
            source,
            Rule.IGNORED_ROUTING,
            f"`output` on a node that is not last switches off its {' and '.join(off)}",
            "move the output into the conditions and the edge",
            "graph",
            position,
            off[0],
            severity=Severity.WARNING,
        )


def _targets(node: language.Node) -> list[tuple[tuple[Any, ...], str | None]]:
    found: list[tuple[tuple[Any, ...], str | None]] = [
        (("conditions", number, "node"), condition.node)
        for number, condition in enumerate(node.conditions or ())
    ]
    if node.edge is not None:
        found.append((("edge", "node"), node.edge.node))
    return found
