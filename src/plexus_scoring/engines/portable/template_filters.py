"""The filters of templates whose result can be far larger than their arguments, in their bounded forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jinja2.filters import FILTERS
from markupsafe import soft_str

from plexus_scoring.engines.portable import bounds


def _bounded_filter(name: str, size: Callable[..., int]) -> Callable[..., Any]:
    """Return jinja2's filter `name`, called only if the size foreseen by `size` is within the bounds."""
    original = FILTERS[name]
    passed = getattr(original, "jinja_pass_arg", None)

    def bounded(*args: Any, **kwargs: Any) -> Any:
        given = args if passed is None else args[1:]
        bounds.check_size(size(*given, **kwargs), f"the filter {name}")
        return original(*args, **kwargs)

    if passed is not None:
        bounded.jinja_pass_arg = passed  # type: ignore[attr-defined]
    return bounded


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _center(value: Any, width: Any = 80) -> int:
    return max(bounds.text_size(value), _number(width))


def _indent(value: Any, width: Any = 4, *_: Any, **__: Any) -> int:
    text = str(value)
    step = len(width) if isinstance(width, str) else _number(width)
    return len(text) + (text.count("\n") + 1) * step


def _batch(_: Any, linecount: Any, *__: Any, **___: Any) -> int:
    return _number(linecount)


def _replace(text: Any, old: Any, new: Any, count: Any = None) -> int:
    whole, before, after = str(text), str(old), str(new)
    found = whole.count(before) if count is None else min(whole.count(before), _number(count))
    return len(whole) + found * max(len(after) - len(before), 0)


def _join(value: Iterable[Any], d: Any = "", attribute: Any = None) -> int:  # noqa: ARG001 - the filter's names
    if not isinstance(value, (list, tuple)):
        return 0
    return sum(bounds.text_size(part) for part in value) + len(str(d)) * len(value)


def _wordwrap(text: Any, *args: Any, wrapstring: Any = None, **_: Any) -> int:
    wrap = args[2] if len(args) > 2 else wrapstring  # noqa: PLR2004 - the filter's third parameter
    return len(str(text)) * (1 + bounds.text_size(wrap))


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Fill in an old-style format, as jinja2's filter of the same name."""
    if args and kwargs:
        raise TypeError("the filter format takes positional or keyword arguments, not both")
    formatted: str = bounds.modulo(soft_str(value), kwargs or args)
    return formatted


def _tojson(value: Any, indent: Any = None) -> int:
    bounds.check_structure(value)
    return _number(indent)


_SIZES: Final[Mapping[str, Callable[..., int]]] = {
    "batch": _batch,
    "center": _center,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "slice": _batch,
    "tojson": _tojson,
    "wordwrap": _wordwrap,
}

BOUNDED: Final[Mapping[str, Callable[..., Any]]] = {
    "format": _format,
    **{name: _bounded_filter(name, size) for name, size in _SIZES.items()},
}
"""The filters by their names in templates."""
