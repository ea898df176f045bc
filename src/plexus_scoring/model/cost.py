"""What a score cost: tokens, calls and US dollars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


class CostComponent(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one call to a model. `usd` is 0.0, as in Plexus, where the model has no known price."""

    type: str = "api_call"
    provider: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 1
    usd: float | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a score. All costs are USD; `components` lists the calls that made them up."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    llm_calls: int = 0
    cached_tokens: int = 0
    input_cost: float = 0.0
    output_cost: float = 0.0
    total_cost: float = 0.0
    components: tuple[CostComponent, ...] = ()

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """Return the sum of `costs`, field by field."""
        parts = tuple(costs)
        return cls(
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            completion_tokens=sum(part.completion_tokens for part in parts),
            total_tokens=sum(part.total_tokens for part in parts),
            llm_calls=sum(part.llm_calls for part in parts),
            cached_tokens=sum(part.cached_tokens for part in parts),
            input_cost=sum(part.input_cost for part in parts),
            output_cost=sum(part.output_cost for part in parts),
            total_cost=sum(part.total_cost for part in parts),
            components=tuple(component for part in parts for component in part.components),
        )
