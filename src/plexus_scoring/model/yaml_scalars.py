"""What a plain scalar of YAML means.

The resolution follows the YAML 1.2 core schema, as Plexus's own loader does: ``yes``, ``no``, ``on``, ``off`` and dates
are text; only ``true``, ``false``, ``null`` and numbers are not. A number keeps the text that its author wrote: in
a list of classes, ``007`` is the class "007", and as an id ``0045`` is "0045".
"""

from __future__ import annotations

import re
from typing import Any, Self

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*|0x[0-9a-fA-F_]+)\Z", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9_]+(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z",
    re.ASCII,
)


class WrittenInteger(int):
    """A whole number whose text is what its author wrote, for example ``0x1F``. A copy is a plain number."""

    written: str

    def __new__(cls, value: int, written: str) -> Self:
        """Keep the text beside the value."""
        made = super().__new__(cls, value)
        made.written = written
        return made

    def __str__(self) -> str:
        return self.written

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


class WrittenFloat(float):
    """A number whose text is what its author wrote, for example ``1e3``. A copy is a plain number."""

    written: str

    def __new__(cls, value: float, written: str) -> Self:
        """Keep the text beside the value."""
        made = super().__new__(cls, value)
        made.written = written
        return made

    def __str__(self) -> str:
        return self.written

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


def as_written(value: Any) -> Any:
    """Return a number that YAML writes in another way as its author's text, anything else as it is."""
    return str(value) if isinstance(value, WrittenInteger | WrittenFloat) else value


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Return what a plain scalar means in the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] in "+-.0123456789":
        if _INT.match(text):
            return _integer(text)
        if _FLOAT.match(text):
            return _float(text)
    return text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "")
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    bases = {"0b": 2, "0o": 8, "0x": 16}
    try:
        base = bases.get(digits[:2])
        value = sign * (int(digits[2:], base) if base else int(digits))
    except ValueError:  # only underscores, or more digits than Python reads
        return text
    return value if str(value) == text else WrittenInteger(value, text)


def _float(text: str) -> float | str:
    plain = text.replace("_", "").lower()
    try:
        value = float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return value if str(value) == text else WrittenFloat(value, text)
