"""Values of the state by path: ``metadata.agent.name``, ``metadata.schools[].id``, ``metadata.schools[0]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INDEX = re.compile(r"([^\[]*)\[([^\]]*)[^\[]*\]\Z")


def values_at(fields: Mapping[str, Any], path: str) -> list[str]:
    """Return the values at `path` as texts; none where the path leads nowhere."""
    parts = [part for part in path.split(".") if part]
    current: Any = fields
    for position, part in enumerate(parts):
        if part.endswith("[]"):
            items = current.get(part[:-2]) if isinstance(current, Mapping) else None
            if not isinstance(items, list):
                return []
            rest = parts[position + 1 :]
            return [str(item) for item in items] if not rest else _each(items, rest)
        indexed = _INDEX.match(part) if part.endswith("]") and "[" in part else None
        current = _at_index(current, indexed) if indexed else _at_key(current, part)
        if current is None:
            return []
    if isinstance(current, list):
        return [str(item) for item in current]
    return [current if isinstance(current, str) else str(current)]


def _each(items: list[Any], rest: list[str]) -> list[str]:
    """Return the value below each item that is a mapping and has it."""
    found = []
    for item in items:
        current = item if isinstance(item, Mapping) else None
        for part in rest:
            current = current.get(part) if isinstance(current, Mapping) else None
        if current is not None:
            found.append(str(current))
    return found


def _at_key(current: Any, key: str) -> Any:
    return current.get(key) if isinstance(current, Mapping) else None


def _at_index(current: Any, indexed: re.Match[str]) -> Any:
    items = _at_key(current, indexed[1])
    try:
        index = int(indexed[2])
    except ValueError:
        return None
    return items[index] if isinstance(items, list) and 0 <= index < len(items) else None
