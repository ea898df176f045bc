"""What restricted code runs with: its builtins, and the guards that the policy puts into it."""

from __future__ import annotations

import builtins
import datetime as dt
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from plexus_scoring.engines.portable import bounds, metering
from plexus_scoring.engines.portable.code.attributes import (
    MODULE_NAME,
    TypeName,
    guarded_getattr,
    guarded_hasattr,
    guarded_setattr,
    guarded_write,
)

logger = logging.getLogger(__name__)

_DATA_TYPES: Final = frozenset(
    {
        bool, bytes, complex, dict, float, frozenset, int, list, range, set, str, tuple, type(None),
        dt.date, dt.datetime, dt.time, dt.timedelta,
    }
)  # fmt: skip
_INPLACE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "//=": operator.ifloordiv,
    "%=": operator.imod,
    "**=": operator.ipow,
    "<<=": operator.ilshift,
    ">>=": operator.irshift,
    "|=": operator.ior,
    "&=": operator.iand,
    "^=": operator.ixor,
    "@=": operator.imatmul,
}


def guarded_type(value: Any, *rest: Any) -> Any:
    """Return a value's class if it is one of data, else a stand-in that has its name."""
    if rest:
        raise TypeError("type() with three arguments is not available to a scorecard's code")
    kind = type(value)
    return (
        kind if kind in _DATA_TYPES or kind.__module__ == MODULE_NAME else TypeName(kind.__name__)
    )


def operand(sign: str, left: Any, right: Any) -> Any:
    """Return the right side of ``left sign right``, once the result's size is known to be bounded."""
    if (check := bounds.CHECKS.get(sign)) is not None:
        check(left, right)
    return right


def inplace_item(owner: Any, key: Any, sign: str, value: Any) -> None:
    """Do ``owner[key] sign value``."""
    old = owner[key]
    owner[key] = _INPLACE[sign](old, operand(sign, old, value))


def inplace_attribute(owner: Any, name: str, sign: str, value: Any) -> None:
    """Do ``owner.name sign value``."""
    old = guarded_getattr(owner, name)
    guarded_setattr(owner, name, _INPLACE[sign](old, operand(sign, old, value)))


def formatted(value: Any, conversion: int, spec: str) -> str:
    """Return one field of an f-string."""
    if conversion == ord("r"):
        value = _repr(value)
    elif conversion == ord("s"):
        value = bounds.to_text(value)
    elif conversion == ord("a"):
        bounds.check_structure(value)
        value = ascii(value)
    elif not spec and type(value) is str:
        return value
    return bounds.format_value(value, spec)


def joined(parts: tuple[str, ...]) -> str:
    """Return an f-string's parts as one text."""
    bounds.check_size(sum(map(len, parts)), "an f-string")
    return "".join(parts)


def comparable(value: Any) -> Any:
    """Return a value that is about to be compared, once its nesting is known to be bounded."""
    bounds.check_structure(value)
    return value


def _repr(value: Any) -> str:
    bounds.check_structure(value)
    return repr(value)


def _sum(items: Iterable[Any], /, start: Any = 0) -> Any:
    if not isinstance(start, (list, tuple)):
        return sum(items, start)
    total = start
    for item in metering.metered(items):
        total = bounds.add(total, item)
    return total


def _iter(items: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator; the form that calls a function until it gives a value has no bound."""
    return iter(items)


def _print(*parts: Any, sep: str | None = " ", **_: Any) -> None:
    logger.debug("%s", (sep or " ").join(bounds.to_text(part) for part in parts))


class _BytesType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, bytes)


class _Bytes(metaclass=_BytesType):
    """``bytes``, but for the form that fills a given number of bytes."""

    def __new__(cls, value: Any = b"", *rest: Any) -> bytes:  # type: ignore[misc]
        if isinstance(value, int):
            raise TypeError("bytes() of a number is not available to a scorecard's code")
        return bytes(value, *rest)


_PLAIN: Final = [
    "abs",
    "all",
    "any",
    "ascii",
    "bin",
    "bool",
    "callable",
    "chr",
    "complex",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "frozenset",
    "hash",
    "hex",
    "id",
    "int",
    "isinstance",
    "issubclass",
    "len",
    "list",
    "map",
    "max",
    "min",
    "next",
    "object",
    "oct",
    "ord",
    "property",
    "reversed",
    "round",
    "set",
    "slice",
    "sorted",
    "staticmethod",
    "classmethod",
    "str",
    "tuple",
    "zip",
    "None",
    "True",
    "False",
    "Ellipsis",
    "NotImplemented",
    "__build_class__",
]
_EXCEPTIONS: Final = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and "Group" not in name
]

BUILTINS: Final[Mapping[str, Any]] = {
    **{name: getattr(builtins, name) for name in [*_PLAIN, *_EXCEPTIONS]},
    "bytes": _Bytes,
    "format": bounds.format_value,
    "getattr": guarded_getattr,
    "hasattr": guarded_hasattr,
    "iter": _iter,
    "pow": bounds.power,
    "print": _print,
    "range": bounds.bounded_range,
    "repr": _repr,
    "setattr": guarded_setattr,
    "sum": _sum,
    "type": guarded_type,
}

GUARDS: Final[Mapping[str, Any]] = {
    "__metaclass__": type,
    "__name__": MODULE_NAME,
    "_Exception_": Exception,
    "_add_": bounds.add,
    "_comparable_": comparable,
    "_format_": formatted,
    "_getattr_": guarded_getattr,
    "_getiter_": metering.metered,
    "_inplace_attribute_": inplace_attribute,
    "_inplace_item_": inplace_item,
    "_joined_": joined,
    "_modulo_": bounds.modulo,
    "_multiply_": bounds.multiply,
    "_operand_": operand,
    "_power_": bounds.power,
    "_repr_": _repr,
    "_shift_": bounds.shift_left,
    "_spread_": bounds.spread,
    "_step_": metering.step,
    "_str_": bounds.to_text,
    "_write_": guarded_write,
}
