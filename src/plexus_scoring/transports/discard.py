"""No response queue: who wants to know reads the store."""

from __future__ import annotations

from plexus_scoring.model.messages import ScoringResponse


class DiscardResponder:
    """Sends nothing."""

    async def respond(self, response: ScoringResponse) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
