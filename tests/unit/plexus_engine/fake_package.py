"""The package's contract as recorded from release 1.50.1, in as few lines as the engine needs of it.

This is not Plexus: it shows what the engine does with what Plexus gives. `make test-plexus` shows the rest.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar


class Result:
    """A Score.Result: value, explanation, confidence, metadata, error."""

    def __init__(self, value: Any, *, error: str | None = None, **metadata: Any) -> None:
        self.value = value
        self.explanation = metadata.get("explanation")
        self.confidence = metadata.pop("confidence", None)
        self.error = error
        self.metadata = metadata


class Registry:
    def __init__(self, known: dict[str, Any]) -> None:
        self._known = {name.lower(): value for name, value in known.items()}

    def get(self, name: str) -> Any:
        return self._known.get(name.lower())


class Scorecard:
    """The class's part that the engine uses."""

    made: ClassVar[list[Scorecard]] = []
    behaviour: Callable[..., Any] | None = None
    known_classes = ("LangGraphScore", "TactusScore")

    def __init__(self, card_id: str, structure: Any, entries: Any) -> None:
        self.id, self.structure, self.entries = card_id, structure, entries
        self.cost_components: list[Any] = []
        self.yaml_only = False
        self.cloudwatch_logger: Any = "CloudWatch"
        self.score_registry = Registry(
            {entry["name"]: entry for entry in entries if entry["class"] in self.known_classes}
        )

    @classmethod
    def create_instance_from_api_data(cls, card_id: str, structure: Any, entries: Any) -> Scorecard:
        card = cls(card_id, structure, entries)
        cls.made.append(card)
        return card

    async def score_entire_text(self, **call: Any) -> dict[str, Any]:
        logging.info("the text is %s", call["text"])  # noqa: LOG015  as the package does
        sys.stdout.write("a debug print\n")
        self.cost_components.append({"usd": 1})
        assert Scorecard.behaviour is not None
        answer = Scorecard.behaviour(self, **call)
        return await answer if asyncio.iscoroutine(answer) else answer


PACKAGE = SimpleNamespace(scorecard_class=Scorecard, graph_class=object)
