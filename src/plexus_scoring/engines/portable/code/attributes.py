"""Which attributes of a value restricted code may reach, and the bounded methods it gets in place of the value's."""

from __future__ import annotations

import re
import types
from collections import Counter, UserList, deque
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import partial
from string import Formatter
from typing import Any, Final

from RestrictedPython.transformer import INSPECT_ATTRIBUTES

from plexus_scoring.engines.portable import bounds, metering

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
        return lambda: metering.metered(value.elements())
    if isinstance(value, (list, deque, UserList)) and name in {"extend", "extendleft"}:
        return partial(_extend, value, name)
    return None


def _bounded_of_class(kind: type, name: str) -> Callable[..., Any] | None:
    if issubclass(kind, (str, bytes)):
        return _TEXT_METHODS.get(name)
    return bounds.NUMBER_METHODS.get(name) if issubclass(kind, (int, float)) else None


def _extend(target: Any, name: str, items: Iterable[Any]) -> None:
    more = bounds.spread(items)
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
