"""BeforeAfterSlicer and ContextExtractor: parts of the text around a quote that the model gives."""

from __future__ import annotations

import asyncio
from typing import Any

from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.language.nodes import (
    BeforeAfterSlicerNode,
    ContextExtractorNode,
)
from plexus_scoring.engines.portable.nodes.base import GraphNode
from plexus_scoring.engines.portable.quotes import clean_quote
from plexus_scoring.engines.portable.sentences import split_sentences
from plexus_scoring.engines.portable.state import State

_CUTOFF = 70
_NOTHING: dict[str, Any] = {
    "explanation": "",
    "matched_sequence": None,
    "context_chunk": None,
    "match_start_index": None,
    "match_end_index": None,
}


class BeforeAfterSlicer(GraphNode[BeforeAfterSlicerNode]):
    """Sets `before` and `after`: the text up to the sentence that fits the quote best, and from it on."""

    fields = ("before", "after")

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask and cut."""
        reply = await self.ask(run, await self.render(state.fields, "raise"))
        text = str(state.fields["text"])
        start = await asyncio.to_thread(_best_sentence, clean_quote(reply.text), text)
        state.fields |= {"before": text[:start], "after": text[start:]}


def _best_sentence(quote: str, text: str) -> int:
    """Return where the sentence begins that the quote fits best; 0 if it fits none."""
    from rapidfuzz import fuzz, process  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

    sentences = split_sentences(text)
    found = process.extractOne(quote, sentences, scorer=fuzz.partial_ratio, score_cutoff=_CUTOFF)
    return text.index(found[0]) if found else 0


class ContextExtractor(GraphNode[ContextExtractorNode]):
    """Sets `matched_sequence`, `context_chunk` and where the match stands."""

    fields = ("matched_sequence", "context_chunk", "match_start_index", "match_end_index")

    def prepare(self, options: CompileOptions) -> None:  # noqa: ARG002 - nothing of it matters here
        """Check that both messages are there."""
        if len(self.messages) < 2:  # noqa: PLR2004 - system and user
            raise self.error("needs a system_message and a user_message", "name")

    async def work(self, state: State, run: ScoreRun) -> None:
        """Ask and look around the quote."""
        if not state.fields["text"]:
            return
        text = str(state.fields["text"])
        reply = await self.ask(run, await self.render(state.fields, "raise"))
        quote = clean_quote(reply.text)
        state.fields |= await asyncio.to_thread(self.context, quote, text)

    def context(self, quote: str, text: str) -> dict[str, Any]:
        """Return the fields that the node sets."""
        found = self._match(quote, text)
        if found is None:
            return dict(_NOTHING)
        start, matched = found
        end = start + len(matched)
        first = max(0, start - self.node.context_before)
        last = min(len(text), end + self.node.context_after)
        chunk = text[slice(*self._widened(text, first, last))]
        if matched not in chunk:
            chunk = text[first:last]
        return {
            "explanation": quote,
            "matched_sequence": matched,
            "context_chunk": chunk,
            "match_start_index": start,
            "match_end_index": end,
        }

    def _match(self, quote: str, text: str) -> tuple[int, str] | None:
        """Return the best of half-overlapping pieces as long as the quote, and where it begins."""
        if not quote or "no clear example" in quote.lower():
            return None
        from rapidfuzz import fuzz, process  # noqa: PLC0415 - 20 ms that only fuzzy matching pays

        size = len(quote)
        step = max(1, size // 2)
        pieces = [text[begin : begin + size] for begin in range(0, len(text) - size + 1, step)]
        found = process.extractOne(
            " ".join(quote.lower().split()),
            pieces,
            scorer=fuzz.token_sort_ratio,
            score_cutoff=self.node.fuzzy_match_threshold,
        )
        return (found[2] * step, found[0]) if found else None

    def _widened(self, text: str, first: int, last: int) -> tuple[int, int]:
        """Widen to sentences. As upstream counts, each sentence begins one character after the one before it."""
        if not self.node.use_sentence_boundaries:
            return first, last
        position = 0
        for sentence in split_sentences(text):
            end = position + len(sentence)
            if position <= first <= end:
                first = position
            if position <= last <= end:
                last = end
            position = end + 1
        return first, last
