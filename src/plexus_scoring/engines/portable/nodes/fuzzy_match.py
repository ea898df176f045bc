"""FuzzyMatchClassifier and FuzzyMatchExtractor: texts looked for without a model."""

from __future__ import annotations

import asyncio

from plexus_scoring.engines.portable.base import ScoreRun
from plexus_scoring.engines.portable.data_paths import values_at
from plexus_scoring.engines.portable.fuzzy import Match, match_text, match_values, target_names
from plexus_scoring.engines.portable.language.nodes import (
    FuzzyMatchClassifierNode,
    FuzzyMatchExtractorNode,
)
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.state import State

_IN_LOOP = 100_000  # characters that are matched without leaving the event loop
_SNIPPET = 100


class FuzzyMatchClassifier(GraphNode[FuzzyMatchClassifierNode]):
    """The class of the best match, or the default one."""

    fields = ("match_found", "matches")
    prompts = False

    async def work(self, state: State, run: ScoreRun) -> None:  # noqa: ARG002 - asks no model
        """Match the values at the data paths."""
        node = self.node
        values = [value for path in node.data_paths for value in values_at(state.fields, path)]
        met = False
        matches: list[Match] = []
        if not values:
            classification = node.default_classification
            explanation = "No values found to match against"
        else:
            if sum(map(len, values)) > _IN_LOOP:
                met, matches = await asyncio.to_thread(match_values, node.targets, values)
            else:
                met, matches = match_values(node.targets, values)
            if matches:
                best = max(matches, key=lambda match: match["score"])
                classification = node.classification_mapping.get(best["target"], best["target"])
                explanation = (
                    f"Found fuzzy matches for: {', '.join(match['target'] for match in matches)}. "
                    f"Best match: {best['target']} (score: {best['score']:.1f})"
                )
            else:
                classification = node.default_classification
                explanation = "No fuzzy matches found for any configured targets"
        output = {
            "classification": classification,
            "explanation": explanation,
            "match_found": met,
            "matches": matches,
        }
        state.fields |= output
        state.undetermined = None
        logged = {
            "classification": classification,
            "explanation": explanation,
            "match_found": met,
            "targets": target_names(node.targets),
            "matches": matches,
        }
        state.log_node(self.name, logged, {"values_extracted": values})


class FuzzyMatchExtractor(GraphNode[FuzzyMatchExtractorNode]):
    """Sets `match_found` and `matches`."""

    fields = ("match_found", "matches")
    prompts = False

    async def work(self, state: State, run: ScoreRun) -> None:  # noqa: ARG002 - asks no model
        """Match the text."""
        text = str(state.fields["text"])
        met = False
        matches: list[Match] = []
        if not text:
            pass  # nothing to find
        elif len(text) > _IN_LOOP:
            met, matches = await asyncio.to_thread(match_text, self.node.targets, text)
        else:
            met, matches = match_text(self.node.targets, text)
        output = {"match_found": met, "matches": matches}
        state.fields |= output
        snippet = text[:_SNIPPET] + ("..." if len(text) > _SNIPPET else "")
        state.log_node(self.name, output, {"text": snippet or None})
