"""Rules on what a graph sets: whether anything sets `value`, and whether outputs name fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.code.source import parse
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.lint.findings import Findings, Rule, Severity, closest
from plexus_scoring.engines.portable.nodes.registry import NODE_CLASSES, node_class
from plexus_scoring.engines.portable.routing import Step, Target

# What classes of nodes set, beside the fields that they declare.
_JUDGED = frozenset(("classification", "explanation", "completion", "retry_count"))
_SETS: Mapping[str, frozenset[str]] = {
    "Classifier": _JUDGED,
    "YesOrNoClassifier": _JUDGED,
    "MultiClassClassifier": _JUDGED,
    "NumericClassifier": frozenset(("value", "explanation")),
    "Generator": frozenset(("completion", "explanation", "retry_count")),
    "LogicalClassifier": frozenset(("classification", "value", "explanation")),
    "FuzzyMatchClassifier": _JUDGED,
    "ContextExtractor": frozenset(("explanation",)),
}
# What a node of this class is asked for, where its score has no output yet.
_ANSWERS = {"Extractor": "extracted_text", "Generator": "completion"}
# Texts in lower case that are answers by themselves.
_TEXTS = frozenset(("yes", "no", "unknown", "none", "na", "pass", "fail", "true", "false"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
ALWAYS = frozenset(("text", "metadata", "results", "chat_history"))
"""The fields that every graph's state has from its start."""

_NEAR = 0.8


def lint_outputs(
    nodes: Sequence[language.Node], fields: set[str], source: ScoreSource, findings: Findings
) -> None:
    """Report outputs that name no field. `fields`: every name that is a field of the graph's state."""
    known = fields | set(chain.from_iterable(map(_returned, nodes)))
    answers = _TEXTS | _classes(nodes, source)
    for path, mapping in _mappings(nodes, source):
        for name, original in mapping.items():
            if not isinstance(original, str) or original in known or not _NAME.match(original):
                continue
            if original.casefold() not in answers:
                _lint_name(original, nodes, known, source, findings, *path, name)


def lint_value(
    nodes: Sequence[language.Node],
    steps: Sequence[Step],
    fields: set[str],
    source: ScoreSource,
    findings: Findings,
) -> None:
    """Report a graph in which nothing sets `value`.

    Args:
        nodes: The nodes that a way leads to.
        steps: The ways out of them.
        fields: Every name that is a field of the graph's state.
        source: The score.
        findings: Where to report.
    """
    output = source.entry.get("output")
    mappings: list[Mapping[str, Any]] = [step.output for step in steps]
    for node in nodes:
        mappings += [node.output or {}, node.input or {}]
    if isinstance(output, Mapping) and any(step.target == Target.END for step in steps):
        mappings.append(output)
    filled = set(ALWAYS)
    for node in nodes:
        filled |= _SETS.get(node.class_, frozenset()) | set(node_class(node.class_).fields)
        filled |= _returned(node)
    pairs = [
        (name, original if original in fields else None)
        for mapping in mappings
        for name, original in mapping.items()
        if isinstance(original, Hashable) and original is not None
    ]
    # An output may name what another output sets. What is no field is a text.
    while new := {name for name, field in pairs if field is None or field in filled} - filled:
        filled |= new
    if "value" in filled:
        return
    answer = _ANSWERS.get(nodes[-1].class_, "classification")
    findings.add(
        source,
        Rule.NO_VALUE,
        "nothing sets `value`, so the score is always 'No'",
        f"write `output: {{value: {answer}, explanation: explanation}}` on the score",
        "output" if isinstance(output, Mapping) else "graph",
    )


def _lint_name(
    original: str,
    nodes: Sequence[language.Node],
    known: set[str],
    source: ScoreSource,
    findings: Findings,
    *path: Any,
) -> None:
    """Report a text of an output that was meant as a field's name. A text that is meant as such is left alone."""
    final = path[0] == "output"
    owners = [name for name in NODE_CLASSES if original in node_class(name).fields]
    near = closest(original, filter(_NAME.match, known), cutoff=_NEAR)
    severity = Severity.ERROR
    if near and (original.islower() or near.casefold() == original.casefold()):
        fix = f"did you mean {near!r}?"
    elif owners:
        fix = f"only a node of the class {' or '.join(owners)} sets it: name what is set here"
    elif final and original in [node.name for node in nodes]:
        fix = "name a field, not a node: `classification`, or what the node's `output` sets"
    elif original.islower() and (final or "_" in original):
        severity = Severity.WARNING
        fix = "name a field; if the text is meant, list it in `validation: {value: {valid_classes: […]}}`"
    else:
        return
    findings.add(
        source,
        Rule.UNKNOWN_FIELD,
        f"{original!r} is no field here, so `{path[-1]}` is set to the text {original!r}",
        fix,
        *path,
        severity=severity,
    )


def _mappings(
    nodes: Sequence[language.Node], source: ScoreSource
) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    output = source.entry.get("output")
    if isinstance(output, Mapping):
        yield ("output",), output
    for position, node in enumerate(nodes):
        path = ("graph", position)
        if node.output:
            yield (*path, "output"), node.output
        if node.edge and node.edge.output:
            yield (*path, "edge", "output"), node.edge.output
        for number, condition in enumerate(node.conditions or ()):
            if condition.output:
                yield (*path, "conditions", number, "output"), condition.output


def _classes(nodes: Sequence[language.Node], source: ScoreSource) -> set[str]:
    """Return the answers that the score's author lists, in one case."""
    found: list[Any] = [condition.value for node in nodes for condition in node.conditions or ()]
    holders: list[Any] = [source.entry, *nodes]
    validation = source.entry.get("validation")
    if isinstance(validation, Mapping):
        holders += validation.values()
    for holder in holders:
        listed = (
            holder.get("valid_classes")
            if isinstance(holder, Mapping)
            else getattr(holder, "valid_classes", None)
        )
        found += listed if isinstance(listed, list) else ()
    return {str(one).casefold() for one in found}


def _returned(node: language.Node) -> set[str]:
    """Return the fields that a LogicalNode may set: names in its mapping, else every name that its code mentions."""
    if not isinstance(node, language.LogicalNodeNode):
        return set()
    if node.output_mapping:
        return set(node.output_mapping)
    tree = parse(node.code)
    if not isinstance(tree, ast.Module):
        return set()
    texts = {
        part.value
        for part in ast.walk(tree)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    return texts | {
        part.arg for part in ast.walk(tree) if isinstance(part, ast.keyword) and part.arg
    }
