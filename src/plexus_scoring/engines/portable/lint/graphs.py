"""Rules on graphs: names, classes, conditions, templates, models."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from plexus_scoring.engines.models.providers import NAMES as PROVIDER_NAMES
from plexus_scoring.engines.models.providers import is_provider
from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.language.model_options import INHERITED
from plexus_scoring.engines.portable.lint.code import lint_code
from plexus_scoring.engines.portable.lint.findings import (
    Findings,
    Rule,
    Severity,
    closest,
    did_you_mean,
)
from plexus_scoring.engines.portable.lint.keys import check_keys
from plexus_scoring.engines.portable.lint.outputs import ALWAYS, lint_outputs
from plexus_scoring.engines.portable.lint.ways import lint_routing
from plexus_scoring.engines.portable.nodes.registry import NODE_CLASSES, node_class, node_model
from plexus_scoring.engines.portable.state import BASE_FIELDS
from plexus_scoring.engines.portable.templates import Template
from plexus_scoring.model.errors import ScorecardError

_GIVEN = ALWAYS | set(BASE_FIELDS)
_TEXT_ONLY = frozenset(("text",))
# Classes whose prompts need every name: without it they fail, or (yes or no) never get an answer.
_STRICT = (
    language.YesOrNoClassifierNode,
    language.NumericClassifierNode,
    language.BeforeAfterSlicerNode,
    language.ContextExtractorNode,
)
_SINGLE_BRACES = re.compile(r"(?<![{$%])\{ *(\w+) *\}(?!\})")
_MESSAGES = ("system_message", "user_message", "explanation_message")


def lint_graph(source: ScoreSource, findings: Findings) -> None:
    """Report what is wrong with a LangGraphScore's graph."""
    graph = source.entry["graph"]
    if not isinstance(graph, list):
        return
    inherited = {key: source.entry[key] for key in INHERITED if key in source.entry}
    _lint_names(graph, source, findings)
    nodes: dict[int, language.Node] = {}
    for position, entry in enumerate(graph):
        node = _read_node(entry, inherited, source, position, findings)
        if node is not None:
            nodes[position] = node
    # A node that cannot be read may be what another leads to, or what sets a name.
    complete = len(nodes) == len(graph) > 0
    declared = _declared(nodes.values(), source)
    if complete:
        fields = declared | _GIVEN
        lint_routing(list(nodes.values()), fields, source, findings)
        lint_outputs(list(nodes.values()), fields, source, findings)
    for position, node in nodes.items():
        _lint_conditions(node, position, source, findings)
        lint_code(node, position, source, findings)
        if complete:
            _lint_templates(node, position, declared, source, findings)
        if node_class(node.class_).prompts:
            _lint_model(node, position, source, findings)


def _lint_model(
    node: language.Node, position: int, source: ScoreSource, findings: Findings
) -> None:
    if not node.model_name:
        findings.add(
            source,
            Rule.MISSING_MODEL,
            f"the node {node.name!r} asks a model, and neither it nor the score names one",
            "add `model_name: …` (and `model_provider: …`) to the score",
            "graph",
            position,
        )
    if not is_provider(node.model_provider):
        own = "model_provider" in source.entry["graph"][position]
        findings.add(
            source,
            Rule.INVALID_VALUE,
            f"model_provider {node.model_provider!r} is no provider, so scoring fails",
            did_you_mean(node.model_provider, PROVIDER_NAMES)
            + "; of a LangChain package name module and class: langchain_groq.ChatGroq",
            *(("graph", position) if own else ()),
            "model_provider",
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
        for name in sorted(set(_SINGLE_BRACES.findall(template)) & (known | {"text", "metadata"})):
            findings.add(
                source,
                Rule.TEMPLATE,
                f"{key} of {node.name!r} has {{{name}}} in single braces: the model gets these letters",
                f"write {{{{{name}}}}}",
                "graph",
                position,
                key,
                severity=Severity.WARNING,
            )
        try:
            names = Template(template).names
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


def _declared(nodes: Iterable[language.Node], source: ScoreSource) -> set[str]:
    output = source.entry.get("output")
    names: set[str] = set(output) if isinstance(output, Mapping) else set()
    for node in nodes:
        names.update(node_class(node.class_).fields)
        mappings = [node.output, node.edge.output if node.edge else None]
        mappings += [condition.output for condition in node.conditions or ()]
        mappings.append(getattr(node, "output_mapping", None))
        names.update(name for mapping in mappings for name in mapping or ())
    return names


def _possible(node: language.Node) -> list[str] | None:
    """Return the classifications that the node can give; None where that cannot be told."""
    if isinstance(node, language.ClassifierNode | language.MultiClassClassifierNode):
        return [*(node.valid_classes or ("Yes", "No")), "unknown"]
    if isinstance(node, language.YesOrNoClassifierNode):
        return ["yes", "no", "unknown"]
    return None
