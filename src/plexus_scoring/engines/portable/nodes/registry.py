"""Classes of nodes by name. A class is imported when a graph first uses it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language import nodes as language
from plexus_scoring.engines.portable.nodes.base import GraphNode

_NODES = "plexus_scoring.engines.portable.nodes"
_CLASSES: dict[str, tuple[str, type[language.Node]]] = {
    "Classifier": ("classifier", language.ClassifierNode),
    "YesOrNoClassifier": ("yes_or_no", language.YesOrNoClassifierNode),
    "MultiClassClassifier": ("multi_class", language.MultiClassClassifierNode),
    "NumericClassifier": ("numeric", language.NumericClassifierNode),
    "Extractor": ("extractor", language.ExtractorNode),
    "Generator": ("generator", language.GeneratorNode),
    "LogicalClassifier": ("logical", language.LogicalClassifierNode),
    "LogicalNode": ("logical", language.LogicalNodeNode),
    "FuzzyMatchClassifier": ("fuzzy_match", language.FuzzyMatchClassifierNode),
    "FuzzyMatchExtractor": ("fuzzy_match", language.FuzzyMatchExtractorNode),
    "BeforeAfterSlicer": ("slicers", language.BeforeAfterSlicerNode),
    "ContextExtractor": ("slicers", language.ContextExtractorNode),
}
NODE_CLASSES = tuple(_CLASSES)


def node_model(name: Any, source: ScoreSource, position: int) -> type[language.Node]:
    """Return the language's model of a class of node. Raises ScorecardError if there is no such class."""
    if isinstance(name, str) and name in _CLASSES:
        return _CLASSES[name][1]
    if name is None:
        raise source.error(f"node {position + 1} has no class", "graph", position)
    raise source.error(
        f"{name!r} is no class of node; there are {', '.join(_CLASSES)}", "graph", position, "class"
    )


def node_class(name: str) -> type[GraphNode[Any]]:
    """Return the class that runs nodes of this class name."""
    found: type[GraphNode[Any]] = getattr(import_module(f"{_NODES}.{_CLASSES[name][0]}"), name)
    return found


def node_models() -> dict[str, type[language.Node]]:
    """Return the language's models of all classes of nodes by name."""
    return {name: model for name, (_, model) in _CLASSES.items()}
