"""Reads JSON that servers fill in as they like: what is of another type counts as absent, never as a fault."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

JsonObject = Mapping[str, Any]
_NOTHING: JsonObject = {}
_LARGEST_COUNT = 2**53


def decode(body: str | bytes) -> Any:
    """Return the value of a JSON text, None where it is none."""
    for parse in (msgspec.json.decode, json.loads, _loads_torn):  # noqa: TID251  the second one knows NaN and -Infinity
        with contextlib.suppress(ValueError, RecursionError):
            return parse(body)
    return None


def _loads_torn(body: str | bytes) -> Any:
    """Read bytes that are not UTF-8 throughout: servers cut tokens within a letter."""
    return None if isinstance(body, str) else json.loads(body.decode("utf-8", "replace"))


def mapping(value: Any) -> JsonObject:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else _NOTHING


def objects(value: Any) -> list[JsonObject]:
    """Return the objects of a list; of anything else none."""
    return [entry for entry in value if isinstance(entry, Mapping)] if _is_list(value) else []


def text(value: Any) -> str | None:
    """Return a text, a number or a truth value as text; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else None


def number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    """Return a number of things, whole and not below zero; ``10.0`` is 10. What no store can hold counts as absent."""
    found = number(value)
    return None if found is None or found > _LARGEST_COUNT else max(0, int(found))


def joined(content: Any, kinds: tuple[str, ...], *, key: str = "text") -> str:
    """Return the texts of the parts of these kinds, a line each: a parser may look at lines, and upstream does so.

    Where servers leave the list, the part or its type out, what is there is taken for it.
    """
    listed = [content] if isinstance(content, Mapping) else content if _is_list(content) else []
    parts = [{"text": part} if isinstance(part, str) else mapping(part) for part in listed]
    return "\n".join(
        text(part.get(key)) or ""
        for part in parts
        if part.get("type") in kinds or ("type" not in part and key in part)
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
