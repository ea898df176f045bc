"""A scorecard's Python as text: parsed, and checked for what the interpreter cannot do. Nothing is compiled or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

MAX_SOURCE: Final = 100_000
"""Longest code in characters."""

SCORE: Final = (
    "\nScore = _PlexusNames("
    "{'Parameters': _PlexusParameters, 'Input': _PlexusInput, 'Result': _PlexusResult})"
)
"""Defines `Score`, after the prelude."""

TRUST: Final = "PLEXUS_SCORING_TRUST_CODE=1 lifts this for authors you trust"

_INSIDE: Final = "plexus_scoring.engines.portable.code.inside"
# Modules of the interpreter itself that a scorecard has a use for; `os`, `pathlib` and `asyncio` reach nothing there.
_NATIVE: Final = frozenset(
    [
        "__future__",
        "asyncio",
        "base64",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "functools",
        "hashlib",
        "itertools",
        "json",
        "math",
        "os",
        "pathlib",
        "random",
        "re",
        "sys",
        "time",
        "typing",
        "unicodedata",
    ]
)
SUPPLIED: Final = frozenset(("logging", "rapidfuzz.fuzz", "re", "statistics", "string"))
# Names of those modules that it does not have, and what to use instead.
_LACKING: Final[dict[str, dict[str, str]]] = {
    "collections": dict.fromkeys(
        ("OrderedDict", "UserDict", "UserList", "ChainMap"), "a dict or list"
    ),
    "dataclasses": dict.fromkeys(("asdict", "astuple", "fields", "replace"), "the attributes"),
    "datetime": {"UTC": "timezone.utc", "tzinfo": "timezone"},
    "functools": dict.fromkeys(
        ("wraps", "total_ordering", "cmp_to_key", "cached_property"), "a function"
    ),
    "re": {
        "X": "(?x) in the pattern",
        "VERBOSE": "(?x) in the pattern",
        "U": "no flag: it is the default",
        "UNICODE": "no flag: it is the default",
        "subn": "re.sub",
    },
    "typing": {"NamedTuple": "collections.namedtuple", "TypedDict": "dict", "cast": "the value"},
}
# Methods that the interpreter never calls: without them it compares, measures or shows an object in its own way.
_NOT_CALLED: Final = frozenset(
    [
        "__bool__", "__bytes__", "__delattr__", "__format__", "__ge__", "__getattr__", "__getattribute__", "__gt__",
        "__iadd__", "__imul__", "__isub__", "__le__", "__len__", "__lt__", "__ne__", "__new__", "__reversed__",
        "__setattr__",
    ]
)  # fmt: skip
_DATACLASS_OPTIONS: Final = frozenset(("eq", "frozen"))
# Methods that the interpreter's numbers, dates and matches lack.
_NO_METHOD: Final = frozenset(
    [
        "as_integer_ratio", "bit_length", "from_bytes", "fromhex", "fromtimestamp", "groupindex", "is_integer",
        "isocalendar", "lastindex", "timetuple", "to_bytes", "toordinal", "utcfromtimestamp",
    ]
)  # fmt: skip
LACKING_BUILTINS: Final = frozenset(
    (
        "BaseExceptionGroup", "BlockingIOError", "BrokenPipeError", "BufferError", "BytesWarning", "ChildProcessError",
        "ConnectionAbortedError", "ConnectionError", "ConnectionRefusedError", "ConnectionResetError",
        "DeprecationWarning", "EOFError", "EncodingWarning", "EnvironmentError", "ExceptionGroup", "FloatingPointError",
        "FutureWarning", "GeneratorExit", "IOError", "ImportWarning", "IndentationError", "InterruptedError",
        "PendingDeprecationWarning", "ProcessLookupError", "PythonFinalizationError", "ReferenceError",
        "ResourceWarning", "RuntimeWarning", "StopAsyncIteration", "SyntaxWarning", "SystemError", "TabError",
        "UnicodeError", "UnicodeTranslateError", "UnicodeWarning", "UserWarning", "Warning", "WindowsError",
        "__build_class__", "__import__", "__loader__", "_IncompleteInputError", "aiter", "anext", "breakpoint",
        "bytearray", "classmethod", "compile", "copyright", "credits", "delattr", "dir", "exit", "globals", "help",
        "input", "issubclass", "license", "memoryview", "quit", "staticmethod", "super", "vars",
    )
)  # fmt: skip
"""Python's builtins that the interpreter does not have."""

MODULES: Final = (_NATIVE - {"__future__", "asyncio", "os", "pathlib", "sys"}) | SUPPLIED
"""Modules that code may import."""


@dataclass(frozen=True)
class Problem:
    """Why code cannot run, at one of its lines (from 1), and what to do instead."""

    message: str
    fix: str
    line: int | None = None


def problems_of(code: str, function: str) -> list[Problem]:
    """Return what keeps the code from running, in the order of its lines. `function` is what will be called."""
    tree = parse(code)
    if isinstance(tree, Problem):
        return [tree]
    found = sorted(_unsupported(tree), key=lambda problem: problem.line or 0)
    missing = _function_problem(tree, function)
    return [*found, *([missing] if missing else [])]


@lru_cache(maxsize=32)
def library(name: str) -> str:
    """Return the source of a file of `inside`, for example ``prelude`` or ``rapidfuzz.fuzz``."""
    package, _, module = name.rpartition(".")
    where = resources.files(f"{_INSIDE}.{package}" if package else _INSIDE)
    return (where / f"{module}.py").read_text(encoding="utf-8")


def parse(code: str) -> ast.Module | Problem:
    """Return the code's syntax tree, or why there is none."""
    if len(code) > MAX_SOURCE:
        return Problem(f"the code is longer than {MAX_SOURCE:,} characters", "make it shorter")
    try:
        return ast.parse(code)
    except SyntaxError as error:
        return Problem(
            f"syntax error: {error.msg}", "correct the Python at this line", error.lineno
        )
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
        return Problem(f"the code cannot be read: {reason}", "simplify it")


_NODES: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Yield: ("a generator function (yield)", "build a list and return it"),
    ast.YieldFrom: ("a generator function (yield)", "build a list and return it"),
    ast.Await: ("await", "write a plain function"),
    ast.AsyncFunctionDef: ("an async function", "write a plain function"),
    ast.TryStar: ("except*", "use except"),
}


def _unsupported(tree: ast.Module) -> Iterator[Problem]:
    guarded = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for statement in node.body
        for child in ast.walk(statement)
    }
    aliases = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _NO_METHOD - own:
            yield Problem(
                f"the method {node.attr!r} is unknown to the interpreter for scorecards",
                f"compute it without; {TRUST}",
                node.lineno,
            )
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            # Code that catches the error has an answer to it.
            star = any(alias.name == "*" for alias in node.names)
            if star or id(node) not in guarded:
                yield from _import_problems(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id, "")
            if node.attr in _LACKING.get(module, ()):
                yield _lacking(module, node.attr, node.lineno)
        else:
            yield from _syntax_problems(node)


def _syntax_problems(node: ast.AST) -> Iterator[Problem]:
    what, fix = _NODES.get(type(node), ("", ""))
    if isinstance(node, ast.ClassDef):
        yield from _class_problems(node)
    elif isinstance(node, ast.Delete) and not _deletable(node.targets):
        what, fix = "del of this", "use one pop() for each, or set it to None"
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sub"
        and any(isinstance(argument, ast.Lambda) for argument in node.args[:2])
    ):
        what, fix = "re.sub with a function", "loop over re.finditer, or use a replacement text"
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "dumps"
        and any(keyword.arg in ("cls", "default") for keyword in node.keywords)
    ):
        what, fix = "json.dumps with default or cls", "convert the values before"
    if what:
        line = getattr(node, "lineno", None)
        yield Problem(f"{what} cannot run in the interpreter for scorecards", fix, line)


def _class_problems(node: ast.ClassDef) -> Iterator[Problem]:
    def problem(what: str, fix: str, at: ast.stmt = node) -> Problem:
        return Problem(
            f"{what} cannot run in the interpreter for scorecards", f"{fix}; {TRUST}", at.lineno
        )

    if node.bases or node.keywords:
        yield problem(
            f"the class {node.name!r}, which inherits,", "write a class without a base, or a dict"
        )
    for part in node.body:
        if isinstance(part, ast.ClassDef):
            yield problem(f"the class {part.name!r} in a class", "write it outside", part)
        elif isinstance(part, ast.FunctionDef) and part.decorator_list:
            yield problem(
                f"the decorated method {part.name!r}",
                "write a plain method, or a function outside of the class",
                part,
            )
        elif isinstance(part, ast.FunctionDef) and part.name in _NOT_CALLED:
            yield problem(
                f"{part.name!r} of the class {node.name!r}",
                "write a method with a plain name",
                part,
            )
    yield from (
        problem(f"dataclass({option.arg}=…)", "leave the option out")
        for option in _dataclass_options(node)
        if option.arg not in _DATACLASS_OPTIONS
    )


def _dataclass_options(node: ast.ClassDef) -> Iterator[ast.keyword]:
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id="dataclass") | ast.Attribute(attr="dataclass")):
                yield from decorator.keywords


def _import_problems(node: ast.Import | ast.ImportFrom) -> Iterator[Problem]:
    for module, name, _ in imported(node):
        if name == "*":
            yield Problem(
                f"from {module} import * cannot run in the interpreter for scorecards",
                "import names",
                node.lineno,
            )
        elif name and name in _LACKING.get(module, ()):
            yield _lacking(module, name, node.lineno)
        elif module not in _NATIVE | SUPPLIED:
            yield Problem(
                f"{module!r} cannot be imported by a scorecard's code",
                f"do without it (there are {', '.join(sorted(MODULES))}); {TRUST}",
                node.lineno,
            )


def _lacking(module: str, name: str, line: int) -> Problem:
    return Problem(
        f"{module}.{name} cannot be used in the interpreter for scorecards",
        f"use {_LACKING[module][name]}",
        line,
    )


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield module, name in it (None: the module itself) and alias of each import."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, None, alias.asname
        return
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        # `from rapidfuzz import fuzz` names a module.
        whole = f"{module}.{alias.name}"
        if whole in SUPPLIED:
            yield whole, None, alias.asname or alias.name
        else:
            yield module, alias.name, alias.asname


def _function_problem(tree: ast.Module, function: str) -> Problem | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return None
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if function in names:
                return None
        if isinstance(node, (ast.Import, ast.ImportFrom)) and function in (
            alias.asname or alias.name for alias in node.names
        ):
            return None
    return Problem(
        f"the code must define a function {function!r}", f"write: def {function}(…):", None
    )


def _deletable(targets: list[ast.expr]) -> bool:
    if len(targets) == 1 and isinstance(targets[0], ast.Subscript):
        return not isinstance(targets[0].slice, (ast.Slice, ast.Tuple))
    return all(isinstance(target, ast.Name) for target in targets)
