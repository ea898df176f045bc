"""Bounds on the values that a scorecard's templates and Python make: the sizes of texts, lists and numbers.

The few operations whose result can be far larger than their operands (repetition, power, padding, formatting,
joining) check the result's size before they work. Steps, time and memory are counted in `metering`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized
from decimal import Decimal
from typing import Any, Final

from plexus_scoring.engines.portable import metering

MAX_ELEMENTS: Final = 8_000_000
"""Longest text, list or range that an operation may make, in characters or elements."""

MAX_BITS: Final = 1_000_000
"""Largest integer that an operation may make."""

_WIDTH = re.compile(r"\d{6,}|\*")
_SIZED: Final = (str, bytes, list, tuple)
_CONTAINERS: Final = (list, tuple, dict, set, frozenset)


def check_size(size: int, what: str) -> None:
    """Stop the run if a value of `size` characters or elements is too large; count it otherwise."""
    if size > MAX_ELEMENTS:
        metering.stop(
            f"{what} would make {size:,} characters or elements (at most {MAX_ELEMENTS:,})"
        )
    meter = metering.METER.get()
    if meter is not None:
        meter.grow(size)


def check_bits(bits: int, what: str) -> None:
    """Stop the run if an integer of `bits` bits is too large."""
    if bits > MAX_BITS:
        metering.stop(f"{what} would make an integer of {bits:,} bits (at most {MAX_BITS:,})")


def check_add(left: Any, right: Any) -> None:
    """Stop the run if ``left + right`` would be too large."""
    if isinstance(left, _SIZED) and isinstance(right, _SIZED):
        check_size(len(left) + len(right), "an addition")


def check_multiply(left: Any, right: Any) -> None:
    """Stop the run if ``left * right`` would be too large."""
    if isinstance(left, int):
        left, right = right, left
    if isinstance(right, int):
        if isinstance(left, int):
            check_bits(left.bit_length() + right.bit_length(), "a multiplication")
        elif isinstance(left, Sized):
            check_size(len(left) * max(right, 0), "a repetition")


def check_power(base: Any, exponent: Any) -> None:
    """Stop the run if ``base ** exponent`` would be too large."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        check_bits(base.bit_length() * exponent, "a power")


def check_shift(value: Any, count: Any) -> None:
    """Stop the run if ``value << count`` would be too large."""
    if isinstance(value, int) and isinstance(count, int) and count > 0:
        check_bits(value.bit_length() + count, "a shift")


def check_modulo(left: Any, right: Any) -> None:
    """Stop the run if ``left % right``, for a text the old formatting, would be too large."""
    if not isinstance(left, (str, bytes)):
        return
    form = left if isinstance(left, str) else left.decode("latin-1")
    if _WIDTH.search(form):
        metering.stop(
            "a % format asks for a width of more than 5 digits, or takes it from an argument"
        )
    check_structure(right)
    if isinstance(right, Mapping):
        longest = max((text_size(value) for value in right.values()), default=0)
        check_size(len(form) + form.count("%") * longest, "a % format")
    else:
        values = right if isinstance(right, tuple) else (right,)
        check_size(len(form) + sum(text_size(value) for value in values), "a % format")


def add(left: Any, right: Any) -> Any:
    """Return ``left + right``."""
    check_add(left, right)
    return left + right


def multiply(left: Any, right: Any) -> Any:
    """Return ``left * right``."""
    check_multiply(left, right)
    return left * right


def power(base: Any, exponent: Any, modulus: Any = None) -> Any:
    """Return ``base ** exponent``, or `pow` with a modulus."""
    if modulus is not None:
        return pow(base, exponent, modulus)
    check_power(base, exponent)
    return base**exponent


def modulo(left: Any, right: Any) -> Any:
    """Return ``left % right``."""
    check_modulo(left, right)
    return left % right


def shift_left(value: Any, count: Any) -> Any:
    """Return ``value << count``."""
    check_shift(value, count)
    return value << count


OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": add,
    "*": multiply,
    "**": power,
    "%": modulo,
}
"""The operators that can make large values, bounded."""

CHECKS: Final[Mapping[str, Callable[[Any, Any], None]]] = {
    "+=": check_add,
    "*=": check_multiply,
    "**=": check_power,
    "%=": check_modulo,
    "<<=": check_shift,
}
"""The bounds of their in-place forms."""


def text_size(value: Any) -> int:
    """Return the length of a text, 0 for anything else."""
    return len(value) if isinstance(value, (str, bytes)) else 0


def check_structure(value: Any) -> None:
    """Stop the run if writing out a container would take more than `MAX_ELEMENTS` characters.

    A list that holds itself twice, forty times over, is small in memory and endless as text.
    """
    if not isinstance(value, _CONTAINERS):
        return
    room = MAX_ELEMENTS
    stack: list[Any] = [value]
    path_guard = 0
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, _CONTAINERS):
            stack.extend(item)
        else:
            room -= text_size(item)
        room -= 1
        path_guard += 1
        if room < 0 or path_guard > MAX_ELEMENTS // 8:
            metering.stop("a nested value is too large to be written as text or compared")


def to_text(value: Any = "", *rest: Any) -> str:
    """Return ``str(value)``."""
    check_structure(value)
    return str(value, *rest)


def format_value(value: Any, spec: str = "") -> str:
    """Return ``format(value, spec)``."""
    if spec and (_WIDTH.search(spec) or len(spec) > 64):  # noqa: PLR2004 - no real format is as long
        metering.stop("a format asks for a width of more than 5 digits")
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) > MAX_ELEMENTS:
        metering.stop("a decimal number is too large to be written as text")
    check_structure(value)
    return format(value, spec)


def spread(value: Any) -> Any:
    """Return what stands behind a star, once its size is known to be bounded."""
    if hasattr(value, "__len__"):
        check_size(len(value), "unpacking")
        return value
    return metering.metered(value)


def join(separator: Any, items: Iterable[Any]) -> Any:
    """Return ``separator.join(items)``."""
    parts = items if isinstance(items, (list, tuple)) else list(items)
    total = sum(text_size(part) for part in parts) + len(separator) * max(len(parts) - 1, 0)
    check_size(total, "a join")
    return separator.join(parts)


def replace(text: Any, old: Any, new: Any, count: Any = -1) -> Any:
    """Return ``text.replace(old, new, count)``."""
    if isinstance(old, (str, bytes)) and isinstance(new, (str, bytes)) and len(new) > len(old):
        found = text.count(old) if isinstance(old, bytes) is isinstance(text, bytes) else 0
        if isinstance(count, int) and count >= 0:
            found = min(found, count)
        check_size(len(text) + found * (len(new) - len(old)), "a replacement")
    return text.replace(old, new, count)


def pad(name: str, text: Any, width: Any, *fill: Any) -> Any:
    """Return ``text.center(width)`` or one of its like."""
    if isinstance(width, int):
        check_size(width, f"{name}()")
    return getattr(text, name)(width, *fill)


def expandtabs(text: Any, tabsize: Any = 8) -> Any:
    """Return ``text.expandtabs(tabsize)``."""
    if isinstance(tabsize, int):
        check_size(len(text) + len(text) * max(tabsize, 0), "expandtabs()")
    return text.expandtabs(tabsize)


def translate(text: Any, table: Any) -> Any:
    """Return ``text.translate(table)``."""
    if isinstance(table, dict):
        check_size(
            len(text) * max((text_size(value) for value in table.values()), default=1),
            "translate()",
        )
    return text.translate(table)


def bounded_range(*parts: Any) -> range:
    """Return ``range(*parts)`` if it is not too long."""
    made = range(*parts)
    if len(made) > MAX_ELEMENTS:
        metering.stop(f"a range of {len(made):,} (at most {MAX_ELEMENTS:,})")
    return made


def _pad(name: str) -> Callable[..., Any]:
    def padded(text: Any, width: Any, *fill: Any) -> Any:
        return pad(name, text, width, *fill)

    return padded


def _refused(name: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        metering.stop(f"{name}() is not available here")

    return refused


TEXT_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "join": join,
    "replace": replace,
    "expandtabs": expandtabs,
    "translate": translate,
    **{name: _pad(name) for name in ("center", "ljust", "rjust", "zfill")},
}
"""Methods of str and bytes whose result can be far larger than the text, bounded. They take the text first."""

NUMBER_METHODS: Final = {
    "to_bytes": _refused("to_bytes"),
    "as_integer_ratio": _refused("as_integer_ratio"),
}
