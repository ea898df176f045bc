"""What a call of scorecard code returned, and how it crosses from the interpreter: as JSON text of a bounded size."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from plexus_scoring.engines.portable.code.place import CodePlace
from plexus_scoring.model.errors import BudgetExceeded, ScoreFailed

MAX_CHARACTERS: Final = 1_000_000
"""Longest JSON text that is read."""

RESULT: Final = "Score.Result"
_KINDS: Final = {"tuple": tuple, "set": set, "frozenset": frozenset}
_MAX_HASHED: Final = 1_000
_MAX_INTEGER: Final = 10**4_000
_CROSSING: Final = (bool, bytes, dt.date, dt.timedelta, Decimal, type(None))


class Answer(msgspec.Struct, frozen=True):
    """What a call returned.

    Attributes:
        kind: `RESULT`, or the name of the value's class.
        value: The value; of a `Score.Result` its value as text. Where it is neither plain data nor a result: its text.
        metadata: The metadata of a `Score.Result`.
    """

    kind: str
    value: Any = None
    metadata: Any = None


def read_answer(text: str, place: CodePlace) -> Answer:
    """Return the answer that `inside/prelude.py` wrote. It takes half a second where the text holds 300,000 lists.

    Raises:
        BudgetExceeded: The text is too long.
        ScoreFailed: It is no such text, because the code put something else in its place.
    """
    if len(text) > MAX_CHARACTERS:
        raise BudgetExceeded(
            f"{place}: stopped, it returned more than {MAX_CHARACTERS:,} characters"
        )
    try:
        kind, value, metadata = json.loads(text)
        room = [_MAX_HASHED]
        answer = Answer(kind, _plain(value, room), _plain(metadata, room))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ScoreFailed(f"{place}: it returned what cannot be read") from error
    if type(kind) is not str or (kind == RESULT and type(value) is not str):
        # Code that puts a function of its own in the place of the prelude's can write anything.
        raise ScoreFailed(f"{place}: it returned what cannot be read")
    return answer


def crossing(value: Any) -> Any:
    """Return a copy of a value as the interpreter takes it; what it does not know becomes its text."""
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, _CROSSING):
        return value
    if isinstance(value, Mapping):
        return {crossing(key): crossing(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [crossing(part) for part in value]
        return tuple(parts) if isinstance(value, tuple) else type(value)(parts)
    return str(value)


def _encodable(text: str) -> str:
    """Return the text without lone surrogates, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _number(value: float) -> float | str:
    """Return a number of Python's own classes: no subclass crosses."""
    if isinstance(value, int):
        return int(value) if abs(value) < _MAX_INTEGER else hex(value)
    return float(value)


def _plain(value: Any, room: list[int]) -> Any:
    if isinstance(value, list):
        return [_plain(part, room) for part in value]
    if isinstance(value, str):
        return _encodable(value)
    if not isinstance(value, dict):
        return value
    ((kind, parts),) = value.items()
    keys, values = parts if kind == "dict" else (parts, ())
    hashed = [_plain(key, room) for key in keys]
    if not all(type(key) is str for key in hashed) and kind != "tuple":
        # The hash of a number is no secret: thousands that collide would take seconds to put in place.
        room[0] -= len(hashed)
        if room[0] < 0:
            raise ValueError("too many keys that are no texts")
    if kind == "dict":
        return dict(zip(hashed, [_plain(part, room) for part in values], strict=True))
    return _KINDS[kind](hashed)
