"""The modules that restricted code may import, each a fixed set of names without its dangerous ones."""

from __future__ import annotations

import importlib
import itertools
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from plexus_scoring.engines.portable import bounds, metering

logger = logging.getLogger(__name__)

_MAX_FUZZY_CELLS: Final = 4_000_000_000
_MAX_FACTORIAL: Final = 5_000
_MAX_INDENT: Final = 100
_MAX_PRODUCT: Final = 16


class Module:
    """A module's allowed names, read-only."""

    def __init__(self, name: str, names: Mapping[str, Any]) -> None:
        self.__dict__.update(names)
        # Not the module's own name: `from json import x` would look for json.x among the loaded modules.
        self.__dict__["__name__"] = f"restricted {name}"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a module's names cannot be changed by a scorecard's code")

    def __repr__(self) -> str:
        return f"<module {self.__dict__['__name__']!r}>"


_PLAIN: Final[Mapping[str, str]] = {
    "__future__": "annotations",
    "base64": "b64decode b64encode urlsafe_b64decode urlsafe_b64encode",
    "calendar": "day_abbr day_name isleap leapdays month_abbr month_name monthrange timegm weekday",
    "collections": "ChainMap Counter OrderedDict UserDict UserList defaultdict deque namedtuple",
    "collections.abc": "Callable Iterable Iterator Mapping MutableMapping MutableSequence Sequence Set",
    "copy": "copy deepcopy",
    "dataclasses": "asdict astuple dataclass field fields replace",
    "datetime": "MAXYEAR MINYEAR UTC date datetime time timedelta timezone tzinfo",
    "functools": "cache cmp_to_key lru_cache partial reduce total_ordering wraps",
    "hashlib": "blake2b md5 sha1 sha256 sha512",
    "html": "escape unescape",
    "math": (
        "acos asin atan atan2 ceil copysign cos degrees dist e erf erfc exp fabs floor fmod fsum gamma gcd hypot inf "
        "isclose isfinite isinf isnan isqrt lcm log log10 log1p log2 modf nan pi pow prod radians sin sqrt tan tau "
        "trunc"
    ),
    "statistics": "fmean geometric_mean harmonic_mean mean median median_high median_low mode multimode pstdev "
    "pvariance quantiles stdev variance",
    "string": "ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits octdigits printable punctuation "
    "whitespace",
    "textwrap": "dedent fill shorten wrap",
    "time": "gmtime localtime mktime monotonic perf_counter strftime strptime time",
    "typing": "Any AnyStr Callable ClassVar Dict Final FrozenSet Generic Iterable Iterator List Literal Mapping "
    "NamedTuple NoReturn Optional Sequence Set Tuple Type TypeVar TypedDict Union cast",
    "unicodedata": "bidirectional category combining decimal digit east_asian_width mirrored name normalize numeric",
    "urllib.parse": "parse_qs parse_qsl quote quote_plus unquote unquote_plus urlencode urljoin urlparse urlsplit",
    "uuid": "NAMESPACE_DNS NAMESPACE_URL UUID uuid3 uuid4 uuid5",
}


def _re() -> Mapping[str, Any]:
    from plexus_scoring.engines.portable.code import patterns  # noqa: PLC0415 - see _compile there

    return patterns.NAMES


def _json() -> Mapping[str, Any]:
    import json  # noqa: PLC0415 - only for code that asks for it

    def dumps(value: Any, *, indent: Any = None, default: Any = None, **options: Any) -> str:
        bounds.check_structure(value)
        if isinstance(indent, int) and indent > _MAX_INDENT:
            raise ValueError(f"indent is larger than {_MAX_INDENT}")
        known = {name: options[name] for name in _DUMP_OPTIONS & options.keys()}
        if unknown := options.keys() - known.keys():
            raise TypeError(f"dumps() takes no {', '.join(sorted(unknown))} here")
        return json.dumps(value, indent=indent, default=default, **known)

    def loads(text: Any) -> Any:
        return json.loads(text)

    return {"JSONDecodeError": json.JSONDecodeError, "dumps": dumps, "loads": loads}


_DUMP_OPTIONS: Final = frozenset(
    {"allow_nan", "ensure_ascii", "separators", "skipkeys", "sort_keys"}
)


def _math() -> Mapping[str, Any]:
    import math  # noqa: PLC0415 - only for code that asks for it

    def small(function: Callable[..., int]) -> Callable[..., int]:
        def bounded(*numbers: int) -> int:
            if any(number > _MAX_FACTORIAL for number in numbers):
                metering.stop(f"{function.__name__}() of more than {_MAX_FACTORIAL}")
            return function(*numbers)

        return bounded

    return {name: small(getattr(math, name)) for name in ("comb", "factorial", "perm")}


class _Chain:
    """``itertools.chain``."""

    def __call__(self, *parts: Any) -> Any:
        return metering.metered(itertools.chain(*parts))

    def from_iterable(self, parts: Any) -> Any:
        """As itertools.chain.from_iterable."""
        return metering.metered(itertools.chain.from_iterable(parts))


def _itertools() -> Mapping[str, Any]:
    def metered(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: metering.metered(function(*args, **kwargs))

    def product(*parts: Any, repeat: int = 1) -> Any:
        if repeat * len(parts) > _MAX_PRODUCT:
            metering.stop(f"a product of more than {_MAX_PRODUCT} parts")
        return metering.metered(itertools.product(*parts, repeat=repeat))

    names = [
        "accumulate",
        "combinations",
        "combinations_with_replacement",
        "compress",
        "count",
        "cycle",
        "dropwhile",
        "filterfalse",
        "groupby",
        "islice",
        "pairwise",
        "permutations",
        "repeat",
        "starmap",
        "takewhile",
        "zip_longest",
    ]
    return {
        **{name: metered(getattr(itertools, name)) for name in names},
        "chain": _Chain(),
        "product": product,
    }


def _operator() -> Mapping[str, Any]:
    import operator  # noqa: PLC0415 - only for code that asks for it

    plain = "and_ eq floordiv ge gt is_ is_not itemgetter le lt ne neg not_ or_ sub truediv truth xor contains"
    return {
        **{name: getattr(operator, name) for name in plain.split()},
        "add": bounds.add,
        "mod": bounds.modulo,
        "mul": bounds.multiply,
        "pow": bounds.power,
    }


class _DecimalType(type):
    def __instancecheck__(cls, value: object) -> bool:
        import decimal  # noqa: PLC0415 - a Decimal's class exists only once it is imported

        return isinstance(value, decimal.Decimal)


class _Decimal(metaclass=_DecimalType):
    """``decimal.Decimal``, for numbers that can be written out."""

    def __new__(cls, value: Any = "0") -> Any:
        import decimal  # noqa: PLC0415 - as above

        number = decimal.Decimal(value)
        if number.is_finite() and abs(number.adjusted()) > _MAX_FACTORIAL:
            metering.stop(f"a decimal number with more than {_MAX_FACTORIAL} places")
        return number


def _decimal() -> Mapping[str, Any]:
    import decimal  # noqa: PLC0415 - only for code that asks for it

    names = "InvalidOperation ROUND_CEILING ROUND_DOWN ROUND_FLOOR ROUND_HALF_EVEN ROUND_HALF_UP ROUND_UP"
    return {**{name: getattr(decimal, name) for name in names.split()}, "Decimal": _Decimal}


class _Log:
    """``logging``, and any logger of it. Lines may quote the item: they go to the job's log at debug level."""

    def __call__(self, *_: Any) -> _Log:
        return self

    def _write(self, message: Any, *args: Any, **_: Any) -> None:
        logger.debug(
            "%s", bounds.modulo(bounds.to_text(message), args) if args else bounds.to_text(message)
        )

    debug = info = warning = warn = error = exception = critical = _write


def _logging() -> Mapping[str, Any]:
    log = _Log()
    methods = ("critical", "debug", "error", "exception", "info", "warning")
    return {
        **{name: getattr(log, name) for name in methods},
        **{
            name: getattr(logging, name)
            for name in ("CRITICAL", "DEBUG", "ERROR", "INFO", "WARNING")
        },
        "getLogger": log,
    }


def _fuzzy(function: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(first: Any, second: Any, **options: Any) -> Any:
        if bounds.text_size(first) * bounds.text_size(second) > _MAX_FUZZY_CELLS:
            metering.stop("a fuzzy comparison of texts this long")
        return function(first, second, **options)

    return bounded


def _rapidfuzz_fuzz() -> Mapping[str, Any]:
    from rapidfuzz import fuzz  # noqa: PLC0415 - only for code that asks for it

    names = "QRatio WRatio partial_ratio partial_token_set_ratio partial_token_sort_ratio ratio "
    names += "token_ratio token_set_ratio token_sort_ratio"
    return {name: _fuzzy(getattr(fuzz, name)) for name in names.split()}


_SPECIAL: Final[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
    "decimal": _decimal,
    "itertools": _itertools,
    "json": _json,
    "logging": _logging,
    "math": _math,
    "operator": _operator,
    "rapidfuzz.fuzz": _rapidfuzz_fuzz,
    "re": _re,
}

ALLOWED: Final = frozenset({*_PLAIN, *_SPECIAL})
"""Names of the modules that code may import."""


def importable(name: str) -> bool:
    """Return whether code may import the module: one of `ALLOWED`, or the parent of one."""
    return name in ALLOWED or bool(_children(name))


def _children(name: str) -> set[str]:
    return {
        allowed.removeprefix(f"{name}.").split(".")[0]
        for allowed in ALLOWED
        if allowed.startswith(f"{name}.")
    }


@lru_cache(maxsize=64)
def load(name: str) -> Module:
    """Return an allowed module, or the parent of some. Raises ImportError for any other."""
    if not importable(name):
        known = ", ".join(sorted(ALLOWED))
        raise ImportError(
            f"{name!r} cannot be imported by a scorecard's code. It may import {known}. "
            "PLEXUS_SCORING_TRUST_CODE=1 lifts this for authors you trust."
        )
    names: dict[str, Any] = {}
    if name in _PLAIN:
        module = importlib.import_module(name)
        names |= {part: getattr(module, part) for part in _PLAIN[name].split()}
    if name in _SPECIAL:
        names |= _SPECIAL[name]()
    names |= {child: load(f"{name}.{child}") for child in _children(name)}
    return Module(name, names)


def guarded_import(
    name: str,
    globals: Any = None,  # noqa: A002, ARG001 - __import__'s parameters
    locals: Any = None,  # noqa: A002, ARG001 - as above
    fromlist: Any = (),
    level: int = 0,
) -> Module:
    """Import an allowed module: `__import__` for restricted code."""
    if level:
        raise ImportError("relative imports are not possible in a scorecard's code")
    load(name)
    return load(name if fromlist else name.partition(".")[0])
