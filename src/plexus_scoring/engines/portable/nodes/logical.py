"""LogicalClassifier and LogicalNode: Python in the scorecard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.code import RESULT, CodePlace, CodeRaised, function_of
from plexus_scoring.engines.portable.language.nodes import LogicalClassifierNode, LogicalNodeNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.state import State
from plexus_scoring.model.errors import ScorecardError, ScoreFailed

log = logging.getLogger(__name__)


def _merged(state: State) -> dict[str, Any]:
    """Return the item's metadata with every field of the state on top."""
    fields = state.fields
    others = {name: value for name, value in fields.items() if name not in ("text", "metadata")}
    return {**fields["metadata"], **others}


def code_place(node: GraphNode[Any]) -> CodePlace:
    """Return where a node's `code` stands in the scorecard."""
    source = node.source
    line = source.document.text_line((*source.path, "graph", node.position, "code"))
    return CodePlace(f"score {source.name!r}: node {node.name!r} code", source.file, line)


def code_error(node: GraphNode[Any], error: ScorecardError) -> ScorecardError:
    """Return an error of a node's `code` at its own line where that is known, else at the key."""
    if error.line is None:
        return node.error(f"code: {error.bare_message}", "code")
    source = node.source
    message = f"score {source.name!r}: node {node.name!r} code: {error.bare_message}"
    return ScorecardError(message, file=source.file, line=error.line)


class LogicalClassifier(GraphNode[LogicalClassifierNode]):
    """Calls `score(parameters, input)`. None goes on to the next node; a result sets classification and value."""

    fields = ("criteria_met",)
    prompts = False

    def prepare(self, options: CompileOptions) -> None:
        """Compile the code."""
        try:
            self.function = function_of(
                self.node.code, "score", place=code_place(self), interpreter=options.interpreter
            )
        except ScorecardError as error:
            raise code_error(self, error) from error

    async def work(self, state: State, run: ScoreRun) -> None:  # noqa: ARG002 - asks no model
        """Run the code and take over what it returns."""
        fields = state.fields
        answer = await self.function(
            {
                "parameters": {"name": self.node.name},
                "text": fields["text"],
                "metadata": _merged(state),
            }
        )
        if answer.value is None:
            return
        if answer.kind != RESULT:
            raise ScoreFailed(
                f"node {self.name!r}: score() must return a Score.Result or None, not {answer.kind}"
            )
        value = answer.value
        metadata = answer.metadata if isinstance(answer.metadata, Mapping) else {}
        output = {
            "classification": value,
            "value": value,
            "explanation": metadata.get("explanation"),
        }
        output |= {str(key): kept for key, kept in metadata.items() if key != "explanation"}
        if not isinstance(output.get("metadata", {}), dict):
            raise ScoreFailed(f"node {self.name!r}: it sets `metadata` to what is no mapping")
        # Upstream drops what is no field of the state: neither the base's, a node class's, nor any output's.
        state.fields |= {name: kept for name, kept in output.items() if name in state.fields}
        state.explained = output["explanation"]
        state.undetermined = None
        state.log_node(self.name, output)


class LogicalNode(GraphNode[LogicalNodeNode]):
    """Calls a function with `context` and sets fields from what it returns. Its own exceptions change nothing."""

    prompts = False

    def declared(self) -> set[str]:
        """Add the fields of `output_mapping`."""
        return super().declared() | set(self.node.output_mapping or ())

    def prepare(self, options: CompileOptions) -> None:
        """Compile the code."""
        self.parameters = self.node.model_dump(by_alias=True)
        try:
            self.function = function_of(
                self.node.code,
                self.node.function_name,
                place=code_place(self),
                interpreter=options.interpreter,
                with_state=True,
            )
        except ScorecardError as error:
            raise code_error(self, error) from error

    async def work(self, state: State, run: ScoreRun) -> None:  # noqa: ARG002 - asks no model
        """Run the code and set the fields."""
        given = {
            "parameters": self.parameters,
            "text": state.fields["text"],
            "metadata": _merged(state),
            "state": state.fields,
        }
        try:
            answer = await self.function(given)
        except CodeRaised as error:
            log.warning("node %r: %s; the graph goes on without the node", self.name, error.where)
            log.debug("%s", error.message)
            return
        fields = self._fields(answer.value)
        if not isinstance(fields.get("metadata", {}), dict):
            raise ScoreFailed(f"node {self.name!r}: it sets `metadata` to what is no mapping")
        state.fields |= fields

    def _fields(self, result: Any) -> dict[str, Any]:
        mapping = self.node.output_mapping
        if isinstance(result, Mapping):
            if mapping:
                return {name: result[key] for name, key in mapping.items() if key in result}
            return {str(name): value for name, value in result.items()}
        if mapping and len(mapping) == 1:
            return {next(iter(mapping)): result}
        return {"result": result}
