"""The rules on Python in scorecards. The code is parsed; nothing of it runs."""

from __future__ import annotations

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.code import problems_of
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.lint.findings import Findings, Rule


def lint_code(node: language.Node, position: int, source: ScoreSource, findings: Findings) -> None:
    """Report what keeps the node's code from running, each at its line."""
    if isinstance(node, language.LogicalClassifierNode):
        function = "score"
    elif isinstance(node, language.LogicalNodeNode):
        function = node.function_name
    else:
        return
    path = ("graph", position, "code")
    first = source.document.text_line((*source.path, *path))
    place = source.document.find((*source.path, *path))
    for problem in problems_of(node.code, function):
        told = first is not None and problem.line is not None
        findings.add_at(
            Rule.CODE,
            f"score {source.name!r}: node {node.name!r} code: {problem.message}",
            problem.fix,
            line=(first or 0) + (problem.line or 0) - 1 if told else place.line,
            column=1 if told else place.column,
        )
