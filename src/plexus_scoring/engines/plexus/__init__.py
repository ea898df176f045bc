"""Scores with the installed Plexus package itself (github.com/AnthusAI/Plexus)."""

from plexus_scoring.engines.plexus.engine import PlexusEngine
from plexus_scoring.engines.plexus.package import is_installed

__all__ = ["PlexusEngine", "is_installed"]
