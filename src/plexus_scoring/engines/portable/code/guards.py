"""What restricted code runs with: its builtins, and the guards that the policy puts into it."""

from __future__ import annotations

import builtins
import datetime as dt
import logging
import operator
import re
import types
from collections import Counter, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import partial
from string import Formatter
from typing import Any, Final

from RestrictedPython.transformer import INSPECT_ATTRIBUTES

from plexus_scoring.engines.portable import bounds

logger = logging.getLogger(__name__)

MODULE_NAME: Final = "scorecard_code"
"""`__module__` of the classes that restricted code defines."""

_REFUSED: Final = INSPECT_ATTRIBUTES | {
    "construct",
    "from_orm",
    "model_construct",
    "model_rebuild",
    "mro",
    "parse_file",
    "parse_raw",
    "update_forward_refs",
}
_NAMED_TUPLE: Final = frozenset({"_asdict", "_fields", "_replace"})
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
_FIELD_ATTRIBUTE: Final = re.compile(r"\.\s*([^.\[\]]*)")
_MISSING: Final = object()


class TypeName:
    """What ``type(x)`` is for values whose class code may name but not use."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeName) and other.__name__ == self.__name__

    def __hash__(self) -> int:
        return hash(self.__name__)

    def __repr__(self) -> str:
        return f"<class {self.__name__!r}>"


def is_own(value: object) -> bool:
    """Tell whether `value` is an instance of a class that the code itself defined."""
    return getattr(type(value), "__module__", None) == MODULE_NAME


def guarded_getattr(value: Any, name: str, default: Any = _MISSING) -> Any:
    """Return an attribute that code may read. Raises AttributeError for any other."""
    if (
        type(name) is not str
    ):  # a subclass could say one thing to this check and another to getattr()
        raise TypeError("an attribute's name must be a text")
    if name == "__name__" and isinstance(value, (type, types.FunctionType, TypeName)):
        return str(value.__name__)
    if name in _REFUSED or (name.startswith("_") and not _may_read_private(value, name)):
        raise AttributeError(f"the attribute {name!r} is not accessible to a scorecard's code")
    if isinstance(value, types.ModuleType):
        raise AttributeError("a module is not accessible to a scorecard's code")  # noqa: TRY004 - what is missing is the attribute
    if (bounded := _bounded_method(value, name)) is not None:
        return bounded
    if default is _MISSING:
        return getattr(value, name)
    return getattr(value, name, default)


def _may_read_private(value: object, name: str) -> bool:
    if name.startswith("__"):
        return False
    return is_own(value) or (isinstance(value, tuple) and name in _NAMED_TUPLE)


def _bounded_method(value: Any, name: str) -> Callable[..., Any] | None:
    """Return the bounded form of a method whose result can be far larger than its arguments."""
    if isinstance(value, type):
        return _bounded_of_class(value, name)
    if isinstance(value, (str, bytes)):
        method = _TEXT_METHODS.get(name)
        return None if method is None else partial(method, value)
    if isinstance(value, (int, float)):
        return bounds.NUMBER_METHODS.get(name)
    if isinstance(value, Counter) and name == "elements":
        return lambda: bounds.metered(value.elements())
    if isinstance(value, (list, deque, UserList)) and name in {"extend", "extendleft"}:
        return partial(_extend, value, name)
    return None


def _bounded_of_class(kind: type, name: str) -> Callable[..., Any] | None:
    if issubclass(kind, (str, bytes)):
        return _TEXT_METHODS.get(name)
    return bounds.NUMBER_METHODS.get(name) if issubclass(kind, (int, float)) else None


def _extend(target: Any, name: str, items: Iterable[Any]) -> None:
    more = spread(items)
    bounds.check_size(len(target) + (len(items) if isinstance(items, Sized) else 0), f"{name}()")
    getattr(target, name)(more)


class _SafeFormatter(Formatter):
    """``str.format`` whose fields reach attributes by `guarded_getattr` only."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        for name in _FIELD_ATTRIBUTE.findall(field_name):
            if name.startswith("_") or name in _REFUSED:
                raise AttributeError(f"the attribute {name!r} is not accessible to a format")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        return bounds.format_value(value, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        bounds.check_structure(value)
        return super().convert_field(value, conversion)


def _format(form: str, *args: Any, **kwargs: Any) -> str:
    longest = max((bounds.text_size(value) for value in (*args, *kwargs.values())), default=0)
    bounds.check_size(len(form) + form.count("{") * longest, "format()")
    return _SafeFormatter().vformat(form, args, kwargs)


def _format_map(form: str, mapping: Mapping[str, Any]) -> str:
    return _format(form, **mapping)


_TEXT_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    **bounds.TEXT_METHODS,
    "format": _format,
    "format_map": _format_map,
}


def guarded_write(value: Any) -> Any:
    """Return `value` if code may set its attributes: its own objects, and data it was given."""
    if isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
        raise TypeError(
            f"attributes of a {type(value).__name__} cannot be set by a scorecard's code"
        )
    if not hasattr(value, "__dict__") or type(value).__module__.startswith(__package__ or ""):
        raise TypeError(
            f"attributes of a {type(value).__name__} cannot be set by a scorecard's code"
        )
    return value


def guarded_setattr(value: Any, name: str, new: Any) -> None:
    """Set an attribute that code may set."""
    if type(name) is not str or name.startswith("__"):
        raise AttributeError(f"the attribute {name!r} is not accessible to a scorecard's code")
    setattr(guarded_write(value), name, new)


def guarded_hasattr(value: Any, name: str) -> bool:
    """Tell whether `value` has an attribute that code may read."""
    try:
        guarded_getattr(value, name)
    except AttributeError:
        return False
    return True


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


def spread(value: Any) -> Any:
    """Return what stands behind a star, once its size is known to be bounded."""
    if hasattr(value, "__len__"):
        bounds.check_size(len(value), "unpacking")
        return value
    return bounds.metered(value)


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
    for item in bounds.metered(items):
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
    "_getiter_": bounds.metered,
    "_inplace_attribute_": inplace_attribute,
    "_inplace_item_": inplace_item,
    "_joined_": joined,
    "_modulo_": bounds.modulo,
    "_multiply_": bounds.multiply,
    "_operand_": operand,
    "_power_": bounds.power,
    "_repr_": _repr,
    "_shift_": bounds.shift_left,
    "_spread_": spread,
    "_step_": bounds.step,
    "_str_": bounds.to_text,
    "_write_": guarded_write,
}
