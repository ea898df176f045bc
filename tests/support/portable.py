"""What the tests of the portable engine share: scorecards, a model that says what it is told, scoring in one call."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext

Answer = str | ChatReply | BaseException


class ScriptedModel:
    """A `ChatModel` without a server. Answers come from a list (the last repeats) or a function of the request."""

    def __init__(
        self, answers: Sequence[Answer] | Callable[[ChatRequest], Answer] = ("Yes",)
    ) -> None:
        self.answers = answers
        self.requests: list[ChatRequest] = []
        self.closed = False

    async def chat(self, request: ChatRequest, *, deadline: float | None = None) -> ChatReply:
        self.requests.append(request)
        if callable(self.answers):
            answer = self.answers(request)
        else:
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, ChatReply):
            return answer
        words = sum(len(message.content.split()) for message in request.messages)
        return ChatReply(
            text=answer,
            model=request.model,
            prompt_tokens=words,
            completion_tokens=len(answer.split()),
        )

    async def aclose(self) -> None:
        self.closed = True

    @property
    def prompts(self) -> list[str]:
        """The last message of each request."""
        return [request.messages[-1].content for request in self.requests]


def scorecard_of(*scores: str | Mapping[str, Any], **keys: Any) -> str:
    """Return a scorecard's YAML text: scores as YAML text (dedented) or as mappings."""
    entries = [
        yaml.safe_load(textwrap.dedent(score)) if isinstance(score, str) else dict(score)
        for score in scores
    ]
    for entry in entries:
        if "graph" in entry:
            entry.setdefault("class", "LangGraphScore")
            entry.setdefault("model_provider", "ChatOpenAI")
            entry.setdefault("model_name", "gpt-4o-mini")
    return yaml.safe_dump(
        {"name": "Card", **keys, "scores": entries}, sort_keys=False, allow_unicode=True
    )


async def score(
    text: str,
    name: str | None = None,
    *,
    item: str = "Agent: Hello there. Customer: I want to cancel my account.",
    metadata: dict[str, Any] | None = None,
    model: ScriptedModel | None = None,
    engine: PortableEngine | None = None,
    **context: Any,
) -> ScoreOutcome:
    """Score an item with a scorecard's YAML; the default score is the last one."""
    scorecard = load_scorecard(text, file="card.yaml")
    used = engine or PortableEngine(model or ScriptedModel())
    try:
        return await used.score(
            ScoreContext(
                item=Item(id="item-1", text=item, metadata=metadata or {}),
                scorecard=scorecard,
                score=name or scorecard.scores[-1].name,
                **context,
            )
        )
    finally:
        if engine is None:
            await used.aclose()
