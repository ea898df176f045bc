"""List prices for the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plexus_scoring.engines.portable.ledger import Usage


def usd_of(usage: Usage) -> tuple[float, float] | None:
    """Return the USD of prompt and completion tokens; None where the model has no known price."""
    from plexus_scoring.engines.models.prices import price  # noqa: PLC0415 - prices load on the first model call

    return price(
        usage.provider,
        usage.model,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
    )
