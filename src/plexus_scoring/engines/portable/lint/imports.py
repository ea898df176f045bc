"""The rule on what code imports: else a forbidden import shows only when its line runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.code import importable
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.lint.findings import Findings, Rule


def lint_imports(
    node: language.Node, position: int, source: ScoreSource, findings: Findings
) -> None:
    """Report what the node's code imports and may not."""
    if not isinstance(node, language.LogicalClassifierNode | language.LogicalNodeNode):
        return
    try:
        tree = ast.parse(node.code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # compiling reports it
    path = ("graph", position, "code")
    first = source.document.text_line((*source.path, *path))
    place = source.document.find((*source.path, *path))
    for line, name in _imports(tree):
        if importable(name):
            continue
        findings.add_at(
            Rule.CODE,
            f"score {source.name!r}: node {node.name!r} code: {name!r} cannot be imported by a scorecard's code",
            "do without it; PLEXUS_SCORING_TRUST_CODE=1 lifts this for authors you trust",
            line=place.line if first is None else first + line - 1,
            column=1 if first is not None else place.column,
        )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield statement.lineno, alias.name
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.lineno, statement.module
