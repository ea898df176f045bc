"""Attribute values and expressions. Every name gets an alias, so no reserved word can be hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Value = dict[str, Any]


def text(value: str) -> Value:
    """Return a string's attribute value."""
    return {"S": value}


def number(value: float) -> Value:
    """Return a number's attribute value. `repr` gives the digits that make the same float again."""
    return {"N": repr(value)}


class Expression:
    """Collects the names and values of one request's expressions."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Value] = {}

    def copy(self) -> Expression:
        """Return one that starts with the same names and values and goes its own way."""
        copy = Expression()
        copy._names, copy._values = dict(self._names), dict(self._values)
        return copy

    def name(self, attribute: str) -> str:
        """Return the attribute's alias."""
        self._names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def value(self, value: Value) -> str:
        """Return the value's alias."""
        alias = f":v{len(self._values)}"
        self._values[alias] = value
        return alias

    def equals(self, attribute: str, value: Value) -> str:
        """Return the comparison."""
        return f"{self.name(attribute)} = {self.value(value)}"

    def at_most(self, attribute: str, value: Value) -> str:
        """Return the comparison; false where the attribute does not exist."""
        return f"{self.name(attribute)} <= {self.value(value)}"

    def set(self, values: Mapping[str, Value], *, keep: Mapping[str, Value] | None = None) -> str:
        """Return a SET clause's assignments; those of `keep` only where nothing is stored."""
        parts = [self.equals(attribute, value) for attribute, value in values.items()]
        for attribute, value in (keep or {}).items():
            alias = self.name(attribute)
            parts.append(f"{alias} = if_not_exists({alias}, {self.value(value)})")
        return "SET " + ", ".join(parts)

    def remove(self, *attributes: str) -> str:
        """Return a REMOVE clause."""
        return "REMOVE " + ", ".join(map(self.name, attributes)) if attributes else ""

    def request(self, **expressions: Any) -> dict[str, Any]:
        """Return the request's part with these expressions and what they refer to."""
        request = {**expressions, "ExpressionAttributeNames": self._names}
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request
