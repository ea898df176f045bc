"""docker/compose.yaml as compose reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[2] / "docker" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def load(**given: str) -> dict[str, Any]:
    """Return the file with these variables set, and every other at its default."""
    text = VARIABLE.sub(lambda found: given.get(found[1]) or found[2], FILE.read_text())
    assert "$" not in text, "a variable without a default"
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def worker_environment(**given: str) -> dict[str, str]:
    """Return the variables that a worker's container gets."""
    environment = load(**given)["services"]["worker"]["environment"]
    return {name: _text(value) for name, value in environment.items()}


def _text(value: object) -> str:
    """Return a YAML scalar as compose writes it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
