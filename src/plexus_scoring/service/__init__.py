"""The one path that every job takes, whatever brought it."""

from plexus_scoring.service.policy import Policy
from plexus_scoring.service.scoring import ScoringService

__all__ = ["Policy", "ScoringService"]
