"""Rules on graphs: routing, conditions, templates, models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from plexus_scoring.engines.portable import templates
from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.language.model_options import INHERITED
from plexus_scoring.engines.portable.lint.findings import (
    Findings,
    Rule,
    Severity,
    closest,
    did_you_mean,
)
from plexus_scoring.engines.portable.lint.keys import check_keys
from plexus_scoring.engines.portable.nodes.registry import NODE_CLASSES, node_class, node_model
from plexus_scoring.engines.portable.routing import Route, Target, compile_routes
from plexus_scoring.engines.portable.state import BASE_FIELDS
from plexus_scoring.model.errors import ScorecardError

_GIVEN = frozenset((*BASE_FIELDS, "text", "metadata", "results", "chat_history"))
_TEXT_ONLY = frozenset(("text",))
# Classes whose prompts need every name: without it they fail, or (yes or no) never get an answer.
_STRICT = (
    language.YesOrNoClassifierNode,
    language.NumericClassifierNode,
    language.BeforeAfterSlicerNode,
    language.ContextExtractorNode,
)
_MESSAGES = ("system_message", "user_message", "explanation_message")


def lint_graph(source: ScoreSource, findings: Findings) -> None:
    """Report what is wrong with a LangGraphScore's graph."""
    graph = source.entry["graph"]
    if not isinstance(graph, list):
        return
    inherited = {key: source.entry[key] for key in INHERITED if key in source.entry}
    _lint_names(graph, source, findings)
    nodes: list[language.Node] = []
    for position, entry in enumerate(graph):
        node = _read_node(entry, inherited, source, position, findings)
        if node is not None:
            nodes.append(node)
    if not nodes or len(nodes) < len(graph):
        return  # the rules below need every node
    _lint_routing(nodes, source, findings)
    declared = _declared(nodes, source)
    for position, node in enumerate(nodes):
        _lint_conditions(node, position, source, findings)
        _lint_templates(node, position, declared, source, findings)
        if node_class(node.class_).prompts and not node.model_name:
            findings.add(
                source,
                Rule.MISSING_MODEL,
                f"the node {node.name!r} asks a model, and neither it nor the score names one",
                "add `model_name: …` (and `model_provider: …`) to the score",
                "graph",
                position,
            )


def _read_node(
    entry: Any,
    inherited: Mapping[str, Any],
    source: ScoreSource,
    position: int,
    findings: Findings,
) -> language.Node | None:
    if not isinstance(entry, Mapping):
        return None  # told by the score's own model
    try:
        model = node_model(entry.get("class"), source, position)
    except ScorecardError as error:
        named = entry.get("class")
        findings.add(
            source,
            Rule.UNKNOWN_CLASS if named else Rule.MISSING_KEY,
            f"{named!r} is no class of node" if named else error.bare_message,
            did_you_mean(str(named), NODE_CLASSES) if named else "add `class: …`",
            "graph",
            position,
            *(("class",) if named else ()),
        )
        return None
    if not check_keys(model, entry, source, findings, "graph", position):
        return None
    try:
        return model.model_validate({**inherited, **entry})
    except ValidationError:
        return None  # what is wrong is the score's, and told there


def _lint_names(graph: Sequence[Any], source: ScoreSource, findings: Findings) -> None:
    seen: set[str] = set()
    for position, entry in enumerate(graph):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            findings.add(
                source,
                Rule.DUPLICATE_NAME,
                f"two nodes are named {name!r}",
                "rename one, and what leads to it",
                "graph",
                position,
                "name",
            )
        seen.add(name)


def _lint_routing(nodes: Sequence[language.Node], source: ScoreSource, findings: Findings) -> None:
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


def _lint_conditions(
    node: language.Node, position: int, source: ScoreSource, findings: Findings
) -> None:
    possible = _possible(node)
    seen: set[str] = set()
    for number, condition in enumerate(node.conditions or ()):
        value = condition.value.lower()
        where = ("graph", position, "conditions", number, "value")
        if possible is not None and value not in {one.lower() for one in possible}:
            findings.add(
                source,
                Rule.UNKNOWN_CONDITION_VALUE,
                f"the node {node.name!r} never answers {condition.value!r}",
                did_you_mean(condition.value, possible),
                *where,
                severity=Severity.WARNING,
            )
        if value in seen:
            findings.add(
                source,
                Rule.DUPLICATE_CONDITION,
                f"a second condition on {condition.value!r}: the last one wins",
                "keep one of them",
                *where,
                severity=Severity.WARNING,
            )
        seen.add(value)


def _lint_templates(
    node: language.Node,
    position: int,
    declared: set[str],
    source: ScoreSource,
    findings: Findings,
) -> None:
    numeric = isinstance(node, language.NumericClassifierNode)
    known = (
        _TEXT_ONLY if numeric else (_GIVEN | declared | set(node.input or ()) | {"retry_feedback"})
    )
    for key in _MESSAGES:
        template = getattr(node, key, None)
        if not isinstance(template, str):
            continue
        try:
            names = templates.undefined_names(template)
        except ScorecardError:
            continue  # compiling reports it
        for name in sorted(names - known):
            findings.add(
                source,
                Rule.UNDEFINED_VARIABLE,
                f"{key} of {node.name!r} uses {name!r}, "
                + (
                    "but this class's prompt sees the text only"
                    if numeric
                    else "which nothing sets"
                ),
                _variable_fix(name, known, numeric=numeric),
                "graph",
                position,
                key,
                severity=Severity.ERROR if isinstance(node, _STRICT) else Severity.WARNING,
            )


def _variable_fix(name: str, known: Collection[str], *, numeric: bool) -> str:
    if numeric:
        return "use {{text}} only"
    near = closest(name, known)
    return f"did you mean {near!r}?" if near else "set it in an `output`, or read it from metadata"


def _declared(nodes: Sequence[language.Node], source: ScoreSource) -> set[str]:
    output = source.entry.get("output")
    names: set[str] = set(output) if isinstance(output, Mapping) else set()
    for node in nodes:
        names.update(node_class(node.class_).fields)
        mappings = [node.output, node.edge.output if node.edge else None]
        mappings += [condition.output for condition in node.conditions or ()]
        mappings.append(getattr(node, "output_mapping", None))
        names.update(name for mapping in mappings for name in mapping or ())
    return names


def _targets(node: language.Node) -> list[tuple[tuple[Any, ...], str | None]]:
    found: list[tuple[tuple[Any, ...], str | None]] = [
        (("conditions", number, "node"), condition.node)
        for number, condition in enumerate(node.conditions or ())
    ]
    if node.edge is not None:
        found.append((("edge", "node"), node.edge.node))
    return found


def _possible(node: language.Node) -> list[str] | None:
    """Return the classifications that the node can give; None where that cannot be told."""
    if isinstance(node, language.ClassifierNode | language.MultiClassClassifierNode):
        return [*(node.valid_classes or ("Yes", "No")), "unknown"]
    if isinstance(node, language.YesOrNoClassifierNode):
        return ["yes", "no", "unknown"]
    return None
