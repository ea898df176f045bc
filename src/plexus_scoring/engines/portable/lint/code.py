"""The rules on Python in scorecards. The code is parsed; nothing of it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.code import problems_of
from plexus_scoring.engines.portable.code.source import (
    LACKING_BUILTINS,
    TRUST,
    Problem,
    library,
    parse,
)
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.lint.findings import Findings, Rule, Severity, closest

_EXPLANATION: Final = 'write metadata={"explanation": …} instead of explanation=…'


def lint_code(node: language.Node, position: int, source: ScoreSource, findings: Findings) -> None:
    """Report what keeps the node's code from running or loses what it says, each at its line."""
    if isinstance(node, language.LogicalClassifierNode):
        function = "score"
    elif isinstance(node, language.LogicalNodeNode):
        function = node.function_name
    else:
        return
    path = ("graph", position, "code")
    first = source.document.text_line((*source.path, *path))
    place = source.document.find((*source.path, *path))

    def add(rule: Rule, problem: Problem, severity: Severity = Severity.ERROR) -> None:
        told = first is not None and problem.line is not None
        findings.add_at(
            rule,
            f"score {source.name!r}: node {node.name!r} code: {problem.message}",
            problem.fix,
            line=(first or 0) + (problem.line or 0) - 1 if told else place.line,
            column=1 if told else place.column,
            severity=severity,
        )

    for problem in problems_of(node.code, function):
        add(Rule.CODE, problem)
    tree = parse(node.code)
    if isinstance(tree, Problem):
        return
    scores = isinstance(node, language.LogicalClassifierNode)
    for problem in _undefined(tree, scores=scores):
        add(Rule.UNDEFINED_NAME, problem)
    if scores:
        for problem in _lost_explanations(tree):
            add(Rule.LOST_EXPLANATION, problem, Severity.WARNING)


def _undefined(tree: ast.Module, *, scores: bool) -> Iterator[Problem]:
    """Yield the names that the code uses and nothing defines. `scores`: whether it knows `Score`."""
    from pyflakes import checker, messages  # noqa: PLC0415 - 30 ms that only lint pays

    given = _prelude_names() | {"logging"} | ({"Score"} if scores else set())
    bound = _bound(tree)
    for message in checker.Checker(tree, builtins=given).messages:
        if isinstance(message, messages.UndefinedName | messages.UndefinedLocal):
            name = str(message.message_args[0])
            near = closest(name, given | bound, cutoff=0.75)
            fix = f"did you mean {near!r}?" if near else "define it, import it, or correct its name"
            yield Problem(f"the name {name!r} does not exist", fix, message.lineno)
    for part in ast.walk(tree):
        if isinstance(part, ast.Name) and part.id in LACKING_BUILTINS - bound:
            yield Problem(
                f"{part.id!r} does not exist in the interpreter for scorecards",
                f"do without it; {TRUST}",
                part.lineno,
            )


def _prelude_names() -> set[str]:
    """Return the names that code finds defined, beside Python's own."""
    found: set[str] = set()
    for part in (*ast.parse(library("prelude")).body, *ast.parse(library("builtins")).body):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            found.add(part.name)
        elif isinstance(part, ast.Assign):
            found |= {target.id for target in part.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that the top level and the functions of `tree` define."""
    found: set[str] = set()
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            found.add(part.name)
        elif isinstance(part, ast.arg):
            found.add(part.arg)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.alias):
            found.add((part.asname or part.name).partition(".")[0])
    return found


def _lost_explanations(tree: ast.Module) -> Iterator[Problem]:
    """Yield the explanations that Plexus drops: those that `Score.Result` is given outside of its metadata."""
    results: set[str] = set()
    for part in ast.walk(tree):
        if (
            isinstance(part, ast.Assign)
            and isinstance(part.value, ast.Call)
            and _is_result(part.value)
        ):
            results |= {target.id for target in part.targets if isinstance(target, ast.Name)}
        if isinstance(part, ast.Call) and _is_result(part):
            given = {keyword.arg: keyword.value for keyword in part.keywords}
            if "explanation" in given and not _explains(given.get("metadata")):
                yield _lost(given["explanation"].lineno)
    for part in ast.walk(tree):
        if (
            isinstance(part, ast.Attribute)
            and isinstance(part.ctx, ast.Store)
            and part.attr == "explanation"
            and isinstance(part.value, ast.Name)
            and part.value.id in results
        ):
            yield _lost(part.lineno)


def _lost(line: int) -> Problem:
    return Problem(
        "Score.Result drops its `explanation`: what counts is the one in its metadata",
        _EXPLANATION,
        line,
    )


def _is_result(call: ast.Call) -> bool:
    name = call.func
    return (isinstance(name, ast.Attribute) and name.attr == "Result") or (
        isinstance(name, ast.Name) and name.id == "Result"
    )


def _explains(metadata: ast.expr | None) -> bool:
    """Whether the metadata has an explanation, or may have one."""
    if not isinstance(metadata, ast.Dict):
        return metadata is not None and not isinstance(metadata, ast.Constant)
    return any(
        key is None or (isinstance(key, ast.Constant) and key.value == "explanation")
        for key in metadata.keys
    )
