"""What the interpreter lacks of Python itself: builtins, and methods of texts."""

import collections as _plexus_collections
import datetime as _plexus_datetime  # noqa: ICN001 - out of the way of the code's names
import re as _plexus_re


def ascii(value):  # noqa: A001 - a builtin that the interpreter lacks
    """Return the value's repr with escapes for what is not ASCII."""
    text = repr(value)
    out = ""
    for character in text:
        number = ord(character)
        if number < 128:
            out += character
        elif number < 256:
            out += "\\x" + format(number, "02x")
        elif number < 65536:
            out += "\\u" + format(number, "04x")
        else:
            out += "\\U" + format(number, "08x")
    return out


def callable(value):  # noqa: A001 - a builtin that the interpreter lacks
    """Return whether the value is a function or a class."""
    return type(value).__name__ in ("builtin_function_or_method", "function", "method", "type")


def _plexus_maketrans(first, second=None, third=""):
    """Stand for `str.maketrans`, which the interpreter lacks."""
    if second is None:
        return {ord(key) if isinstance(key, str) else key: to for key, to in first.items()}
    if len(first) != len(second):
        raise ValueError("the first two maketrans arguments must have equal length")
    table = {ord(a): ord(b) for a, b in zip(first, second, strict=True)}
    table.update({ord(character): None for character in third})
    return table


class _PlexusText:
    """A text with the methods that the interpreter's texts lack."""

    def __init__(self, text):
        self.text = text

    def translate(self, table):
        """Return the text with the characters replaced that the table names."""
        out = []
        for character in self.text:
            to = table.get(ord(character), character) if isinstance(table, dict) else character
            if to is not None:
                out.append(chr(to) if isinstance(to, int) else to)
        return "".join(out)

    def format_map(self, mapping):
        """Return the text with its fields filled in."""
        return self.text.format(**mapping)


def _plexus_text(value):
    return _PlexusText(value) if isinstance(value, str) else value


_plexus_iter = iter  # the interpreter's generator expressions, map, zip … are lists
_plexus_eval = eval
_plexus_getattr = getattr
_plexus_hasattr = hasattr
_plexus_round = round
_plexus_bound = {}
_PLEXUS_DICT = "clear copy get items keys pop popitem setdefault update values"
_PLEXUS_SET = (
    "copy difference intersection isdisjoint issubset issuperset symmetric_difference union"
)
_PLEXUS_DATE = "isoformat isoweekday replace strftime weekday"
_PLEXUS_METHODS = {
    str: "capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha "
    "isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower "
    "lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines "
    "startswith strip swapcase title translate upper zfill",
    dict: _PLEXUS_DICT,
    _plexus_collections.Counter: _PLEXUS_DICT + " elements most_common subtract total",
    _plexus_collections.defaultdict: _PLEXUS_DICT,
    list: "append clear copy count extend index insert pop remove reverse sort",
    tuple: "count index",
    set: _PLEXUS_SET + " add clear discard pop remove update",
    frozenset: _PLEXUS_SET,
    _plexus_datetime.date: _PLEXUS_DATE,
    _plexus_datetime.datetime: _PLEXUS_DATE + " astimezone date time timestamp",
    _plexus_datetime.timedelta: "total_seconds",
    type(_plexus_re.compile("a")): "findall finditer fullmatch match search split sub",
    type(_plexus_re.match("a", "a")): "end group groupdict groups span start",
}
_PLEXUS_METHODS = {kind: set(names.split()) for kind, names in _PLEXUS_METHODS.items()}


def getattr(value, name, *default):  # noqa: A001 - the interpreter's does not find methods of builtin classes
    """Return an attribute. The interpreter can only call a builtin method, not hand it over."""
    if name not in _PLEXUS_METHODS.get(type(value), ()):
        return _plexus_getattr(value, name, *default)
    if name not in _plexus_bound:
        own = "_plexus_text(v)" if name in ("format_map", "translate") else "v"
        _plexus_bound[name] = _plexus_eval(f"lambda v: lambda *a, **k: {own}.{name}(*a, **k)")
    return _plexus_bound[name](value)


_plexus_attribute = getattr


def hasattr(value, name):  # noqa: A001 - as above
    """Return whether the value has an attribute."""
    return name in _PLEXUS_METHODS.get(type(value), ()) or _plexus_hasattr(value, name)


def round(number, ndigits=None):  # noqa: A001 - the interpreter's is wrong for 2.675, which is less than it looks
    """Return the number rounded as Python rounds: by its exact value."""
    if type(number) is float and type(ndigits) is int and 0 <= ndigits < 300:
        return float(format(number, f".{ndigits}f"))
    return _plexus_round(number, ndigits)
