"""LangGraphScore: a graph of nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from plexus_scoring.engines.portable.base import (
    CompileOptions,
    Noted,
    ScoreInput,
    ScoreRun,
    ScoreSource,
)
from plexus_scoring.engines.portable.final_output import apply_final_output
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.language.model_options import INHERITED
from plexus_scoring.engines.portable.language.nodes import Node
from plexus_scoring.engines.portable.language.scores import LangGraphScore
from plexus_scoring.engines.portable.nodes.base import GRAPH_LOGPROBS, GraphNode
from plexus_scoring.engines.portable.nodes.registry import node_class, node_model
from plexus_scoring.engines.portable.routing import Target, compile_routes
from plexus_scoring.engines.portable.state import BASE_FIELDS, State
from plexus_scoring.model.errors import BudgetExceeded
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.telemetry import names, tracing
from plexus_scoring.telemetry.logs import keep_trace

MAX_STEPS = 200
"""Most nodes that one run visits: edges may lead back, and a loop that no condition ends must end."""

NO_USABLE_ANSWER = "the model gave no usable answer"
_KEPT = (
    "good_call",
    "good_call_explanation",
    "non_qualifying_reason",
    "non_qualifying_explanation",
)


class GraphScore:
    """A compiled graph. It keeps nothing of a run."""

    def __init__(self, source: ScoreSource, options: CompileOptions) -> None:
        """Compile nodes, templates, code and routes. Raises ScorecardError."""
        self.configuration = read(LangGraphScore, source.entry, source)
        inherited = _inherited(self.configuration)
        models = [
            read(
                node_model(entry.get("class"), source, position),
                {**inherited, **entry},
                source,
                "graph",
                position,
            )
            for position, entry in enumerate(self.configuration.graph)
        ]
        _refuse_duplicates(models, source)
        self.source = source
        self.routes = compile_routes(models, source)
        self.nodes: list[GraphNode[Any]] = [
            node_class(model.class_)(model, source, position, options)
            for position, model in enumerate(models)
        ]
        declared = {name for node in self.nodes for name in node.declared()}
        declared |= set(self.configuration.output or ())
        self.declared = tuple(sorted(declared - set(BASE_FIELDS)))
        self.order = tuple(node.name for node in self.nodes)

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:
        """Walk the graph from its first node."""
        state = State(
            text=given.text,
            metadata=given.metadata,
            results=given.results,
            declared=self.declared,
        )
        try:
            position = await self._walk(state, run)
        except BaseException:
            keep_trace(state.trace)
            raise
        if position == Target.END and self.configuration.output:
            apply_final_output(state, self.configuration.output, [node.node for node in self.nodes])
        outcome = _outcome(state)
        run.note(
            Noted(
                fields=_known(state),
                explained=state.explained is not None
                and state.explained == state.fields["explanation"],
                fails_in_plexus=state.fails_in_plexus,
            )
        )
        return outcome

    async def _walk(self, state: State, run: ScoreRun) -> int:
        """Run node after node, and return how the graph ended. Raises what a node raises, BudgetExceeded."""
        position = 0
        for _ in range(MAX_STEPS):
            node = self.nodes[position]
            if tracing.enabled():
                with tracing.span(names.SPAN_NODE, attributes=self._attributes(node)):
                    await node.run(state, run)
            else:
                await node.run(state, run)
            position = self.routes[position].choose(state).apply(state)
            if position < 0:
                return position
        raise BudgetExceeded(
            f"the graph visited {MAX_STEPS} nodes and is at {self.nodes[position].name!r}: its edges go in a circle"
        )

    def _attributes(self, node: GraphNode[Any]) -> dict[str, str]:
        """Return what a node's span is told by: names that the scorecard's author gave, nothing of the item."""
        return {
            "plexus_scoring.score.name": self.source.name,
            "plexus_scoring.node.name": node.name,
            "plexus_scoring.node.class": node.node.class_,
        }


def _known(state: State) -> dict[str, Any]:
    """Return what upstream keeps as the result's metadata: the state's fields and the item's metadata."""
    fields = {
        name: value for name, value in state.fields.items() if name not in ("value", "metadata")
    }
    return {**fields, **state.fields["metadata"]}


def _outcome(state: State) -> ScoreOutcome:
    fields = state.fields
    value = "No" if fields["value"] is None else str(fields["value"])
    explanation = fields["explanation"]
    confidence = fields["confidence"]
    kept = {name: fields[name] for name in _KEPT if fields[name] is not None}
    gave_up = state.undetermined is not None and value.lower() == state.undetermined.lower()
    return ScoreOutcome(
        value=value,
        explanation=None if explanation is None else str(explanation),
        confidence=float(confidence) if isinstance(confidence, int | float) else None,
        trace={"node_results": state.trace} if state.trace else None,
        undetermined=gave_up,
        undetermined_reason=NO_USABLE_ANSWER if gave_up else None,
        metadata=kept,
    )


def _inherited(score: LangGraphScore) -> dict[str, Any]:
    """Return what nodes take from their score. One node's confidence sets log probabilities for the whole graph."""
    values = {name: getattr(score, name) for name in INHERITED}
    if any(entry.get("confidence") is True for entry in score.graph):
        values |= {"logprobs": True, "top_logprobs": GRAPH_LOGPROBS, "temperature": 0.0}
    return values


def _refuse_duplicates(nodes: list[Node], source: ScoreSource) -> None:
    seen: set[str] = set()
    for position, node in enumerate(nodes):
        if node.name in seen:
            raise source.error(
                f"two nodes are named {node.name!r}: rename one", "graph", position, "name"
            )
        seen.add(node.name)


def graph_metadata(
    metadata: Mapping[str, Any], *, scorecard: str, score: str, account: str | None
) -> dict[str, Any]:
    """Return an item's metadata with the keys that upstream adds for a graph."""
    return {
        **metadata,
        "account_key": account or os.environ.get("PLEXUS_ACCOUNT_KEY", "default"),
        "scorecard_name": scorecard,
        "score_name": score,
    }
