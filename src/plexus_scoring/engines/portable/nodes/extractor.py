"""Extractor: a quote that the model gives, as it stands in the text."""

from __future__ import annotations

import asyncio

from plexus_scoring.engines.portable.base import ScoreRun
from plexus_scoring.engines.portable.language.nodes import ExtractorNode
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.quotes import clean_quote, find_similar
from plexus_scoring.engines.portable.state import State

_IN_LOOP = (
    200_000  # characters of text times quote that are compared without leaving the event loop
)


class Extractor(GraphNode[ExtractorNode]):
    """Sets `extracted_text`. Where the quote is not found in the text, it is kept as the model gave it."""

    fields = ("extracted_text", "reasoning")

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask and verify."""
        reply = await self.ask(run, await self.render(state.fields, "empty"))
        quote = clean_quote(reply.text)
        state.fields["extracted_text"] = await self._verified(quote, str(state.fields["text"]))
        state.fields["reasoning"] = None
        state.log_node(self.name, {"extracted_text": state.fields["extracted_text"]})

    async def _verified(self, quote: str, text: str) -> str:
        node = self.node
        if "No clear example" in quote or node.trust_model_output or node.use_exact_matching:
            return quote  # upstream's exact matching, too, ends with the model's own words
        cutoff = node.fuzzy_match_score_cutoff
        if len(quote) * len(text) <= _IN_LOOP or quote in text:
            found = find_similar(quote, text, cutoff)
        else:
            found = await asyncio.to_thread(find_similar, quote, text, cutoff)
        return found or quote
