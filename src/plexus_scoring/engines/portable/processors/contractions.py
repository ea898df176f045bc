"""Write contractions out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def expand_contractions(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the text with contractions and slang written out, by the word list that Plexus uses.

    Raises:
        ImportError: The package ``contractions`` (extra ``portable``) is not installed.
    """
    del parameters
    import contractions  # noqa: PLC0415 - it builds its automatons on import

    expanded: str = contractions.fix(text)
    return expanded
