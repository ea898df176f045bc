"""Reads JSON and plain values as msgspec's types, in any thread.

msgspec finds out what a Struct's fields are when the Struct is first read. It shows the half-made answer to other
threads meanwhile, and one that reads the same Struct just then ends the process with SIGSEGV (msgspec 0.22). So a type
is made ready by one thread, and read by others only after that.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_ready: set[Any] = set()
_lock = threading.Lock()


def decode(body: bytes | str, kind: type[T]) -> T:
    """Return a JSON text as `kind`. Raises msgspec.MsgspecError for one that does not fit, or RecursionError."""
    _make_ready(kind)
    return msgspec.json.decode(body, type=kind)  # noqa: TID251  made ready


def convert(value: Any, kind: type[T], *, strict: bool = True) -> T:
    """Return a plain value as `kind`; not `strict`: text may be a number. Raises msgspec.ValidationError."""
    _make_ready(kind)
    return msgspec.convert(value, kind, strict=strict)  # noqa: TID251  made ready


def _make_ready(kind: Any) -> None:
    if kind in _ready:
        return
    with _lock:
        msgspec.json.Decoder(kind)  # noqa: TID251  one at a time
        _ready.add(kind)
