"""The state that travels through a graph: the fields that nodes read and set, and the trace of what they did.

Which names are fields matters: an output mapping's right side is a field where one has that name, else a literal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from plexus_scoring.model.errors import ScoreFailed

BASE_FIELDS: Mapping[str, Any] = {
    "messages": None,
    "is_not_empty": None,
    "value": None,
    "explanation": None,
    "reasoning": None,
    "completion": None,
    "classification": None,
    "confidence": None,
    "retry_count": 0,
    "at_llm_breakpoint": False,
    "good_call": None,
    "good_call_explanation": None,
    "non_qualifying_reason": None,
    "non_qualifying_explanation": None,
}


class State:
    """One run's state.

    Attributes:
        fields: Every field by name, `text`, `metadata` and `results` among them.
        explained: The explanation that the score's own code gave last.
        fails_in_plexus: Whether Plexus stops at this state, and the score is ERROR there.
        undetermined: What the last judging node gave because the model had no usable answer: ``unknown``, ``No``
            (a number that is missing), or None where the model answered.
    """

    __slots__ = ("explained", "fails_in_plexus", "fields", "undetermined")

    def __init__(
        self,
        *,
        text: str,
        metadata: Mapping[str, Any],
        results: Mapping[str, Any],
        declared: Iterable[str] = (),
    ) -> None:
        """Start with every declared field unset."""
        self.fields: dict[str, Any] = {
            **dict.fromkeys(declared),
            **BASE_FIELDS,
            "chat_history": [],
            "text": text,
            "metadata": dict(metadata),
            "results": dict(results),
        }
        self.explained: object = None
        self.fails_in_plexus = False
        self.undetermined: str | None = None

    def get(self, name: str) -> Any:
        """Return a field, None if it is not set."""
        return self.fields.get(name)

    def lower(self, name: str) -> str | None:
        """Return a field as lower-case text, None if it is not set."""
        value = self.fields.get(name)
        return None if value is None else str(value).lower()

    def alias(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Set each field to the field or literal it is mapped to, one after the other; return what was set."""
        done: dict[str, Any] = {}
        for name, original in mapping.items():
            done[name] = self._set(name, self.resolve(original))
        return done

    def alias_filled(self, mapping: Mapping[str, Any], *, keep: Iterable[str] = ()) -> None:
        """Like `alias`, with unset fields told as "No" for `value`, else as empty text; fields in `keep` stay."""
        for name, original in mapping.items():
            if name in keep:
                continue
            value = self.resolve(original)
            if value is None:
                value = "No" if name == "value" else ""
            self._set(name, value)

    def _set(self, name: str, value: Any) -> Any:
        if name == "metadata" and not isinstance(value, dict):
            raise ScoreFailed(
                "an `output` sets 'metadata', which holds the trace, to what is no mapping: choose another name"
            )
        self.fields[name] = value
        return value

    def resolve(self, original: Any) -> Any:
        """Return the field of this name, else the literal itself."""
        if isinstance(original, str) and original in self.fields:
            return self.fields[original]
        return original

    @property
    def trace(self) -> list[dict[str, Any]]:
        """The trace so far."""
        trace = self.fields["metadata"].get("trace")
        entries = trace.get("node_results") if isinstance(trace, dict) else None
        return entries if isinstance(entries, list) else []

    @property
    def traced(self) -> bool:
        """Whether a trace was begun."""
        return "trace" in self.fields["metadata"]

    def log(self, entry: dict[str, Any]) -> None:
        """Add an entry to the trace."""
        metadata = self.fields["metadata"]
        metadata["trace"] = {"node_results": [*self.trace, entry]}

    def log_node(
        self, name: str, output: Mapping[str, Any], given: Mapping[str, Any] | None = None
    ) -> None:
        """Add what a node was given and what it set."""
        self.log({"node_name": name, "input": dict(given or {}), "output": dict(output)})
