"""Writes a scorecard's Python as the interpreter takes it, where a small change does what the interpreter lacks."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from plexus_scoring.engines.portable.code.source import SUPPLIED, imported, parse

# Methods of texts that the interpreter lacks.
_TEXT_METHODS: Final = frozenset(("format_map", "translate"))
# What gives an iterator in Python and a list in the interpreter, and who reads one to its end at once.
_LAZY: Final = frozenset(("enumerate", "filter", "map", "reversed", "zip"))
_READERS: Final = frozenset(
    (
        "all",
        "any",
        "dict",
        "extend",
        "frozenset",
        "join",
        "list",
        "max",
        "min",
        "set",
        "sorted",
        "sum",
        "tuple",
    )
)
# Methods of builtin classes, which the interpreter can only call.
_METHODS: Final = frozenset(
    name
    for kind in (str, dict, list, set, re.Pattern, re.Match, Counter)
    for name in dir(kind)
    if not name.startswith("_")
)


@dataclass(frozen=True)
class Source:
    """Code that can be handed to the interpreter.

    Attributes:
        text: The code. Its lines are those of the scorecard.
        modules: Names of the supplied modules that it imports.
    """

    text: str
    modules: tuple[str, ...]


@lru_cache(maxsize=512)
def rewritten(code: str) -> Source:
    """Return the code as the interpreter takes it. The code has no problems (`source.problems_of`).

    Imports of supplied modules become assignments; ``del`` of an entry or of names, methods that are not called where
    they are named, and what gives an iterator in Python, become what does the same.
    """
    tree = parse(code)
    assert isinstance(tree, ast.Module)  # noqa: S101 - checked by the caller
    edits = _Edits(code)
    used: set[str] = set()
    shadowed = any(_binds(node, {"str"}) for node in ast.walk(tree))
    lazy = {name for name in _LAZY if not any(_binds(node, {name}) for node in ast.walk(tree))}
    read = {id(part) for node in ast.walk(tree) for part in _read_at_once(node)}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    quoted = {id(part) for node in ast.walk(tree) for part in _quoted(node, edits)}
    for node in ast.walk(tree):
        if id(node) in quoted:
            continue
        if isinstance(node, ast.Name) and node.id == "logging":
            used.add("logging")  # Plexus hands it over without an import
        elif isinstance(node, ast.Attribute):
            _rewrite_attribute(node, edits, shadowed=shadowed, called=id(node) in called)
        elif id(node) not in read and _is_lazy(node, lazy):
            _rewrite_lazy(node, edits)
        elif isinstance(node, ast.Delete):
            _rewrite_delete(node, edits)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            new = _assignments(node, used)
            if new is not None:
                edits.replace(*edits.place(node), new)
    return Source(edits.applied(), tuple(sorted(used)))


class _Edits:
    """Replacements in a text, by byte offsets as syntax trees have them."""

    def __init__(self, code: str) -> None:
        self._text = code.encode()
        self._starts = [0]
        for line in self._text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._edits: list[tuple[int, int, str]] = []

    def place(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Return where a node begins and ends."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[
            end_line - 1
        ] + end_column

    def text_of(self, node: ast.expr) -> str:
        """Return a node's text."""
        begin, end = self.place(node)
        return self._text[begin:end].decode(errors="replace")

    def replace(self, begin: int, end: int, new: str) -> None:
        """Put something in a place. Later lines keep their numbers: an error's line is told to the author."""
        blank = "\n" * self._text[begin:end].count(b"\n")
        self._edits.append((begin, end, f"{new[:-1]}{blank}{new[-1:]}" if blank else new))

    def applied(self) -> str:
        """Return the text with all replacements."""
        text, kept = self._text, len(self._text)
        # Of two insertions at one place, the inner node's comes later in the list and stands closer to it.
        ordered = sorted(
            enumerate(self._edits), key=lambda edit: (edit[1][1], edit[1][0], edit[0]), reverse=True
        )
        for _, (begin, end, new) in ordered:
            if end <= kept:  # else it is a part of what was replaced already
                text = text[:begin] + new.encode() + text[end:]
                kept = begin
        return text.decode()


def _quoted(node: ast.AST, edits: _Edits) -> Iterator[ast.AST]:
    """Yield what must stay as it is written: a pattern, and an expression whose text is shown (``f"{name=}"``)."""
    if isinstance(node, ast.MatchValue):
        yield from ast.walk(node.value)
    elif isinstance(node, ast.JoinedStr):
        for before, value in pairwise(node.values):
            if (
                isinstance(before, ast.Constant)
                and isinstance(value, ast.FormattedValue)
                and (shown := str(before.value).rstrip()).endswith("=")
                and shown[:-1].rstrip().endswith(edits.text_of(value.value))
            ):
                yield from ast.walk(value)


def _read_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what this node reads to its end: it makes no difference whether it is a list."""
    match node:
        case ast.For(iter=part) | ast.comprehension(iter=part):
            yield part
        case ast.Starred(value=part) | ast.AugAssign(value=part):
            yield part
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _READERS:
            yield from node.args


def _is_lazy(node: ast.AST, lazy: set[str]) -> bool:
    match node:
        case ast.GeneratorExp() | ast.Call(func=ast.Attribute(attr="finditer")):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in lazy
    return False


def _rewrite_lazy(node: ast.AST, edits: _Edits) -> None:
    assert isinstance(node, ast.expr)  # noqa: S101 - `_is_lazy` said so
    begin, end = edits.place(node)
    if isinstance(node, ast.GeneratorExp):  # its parentheses may be those of a call
        edits.replace(begin + 1, begin + 1, "_plexus_iter([")
        edits.replace(end - 1, end - 1, "])")
    else:
        edits.replace(begin, begin, "_plexus_iter(")
        edits.replace(end, end, ")")


def _rewrite_attribute(node: ast.Attribute, edits: _Edits, *, shadowed: bool, called: bool) -> None:
    if not shadowed and _is_str(node.value):
        new = _method_of_str(node.attr)
        if new is not None:
            edits.replace(*edits.place(node), new)
    elif node.attr in _TEXT_METHODS:
        begin, end = edits.place(node.value)
        edits.replace(begin, begin, "_plexus_text(")
        edits.replace(end, end, ")")
    elif node.attr in _METHODS and not called and isinstance(node.ctx, ast.Load):
        begin, end = edits.place(node.value)
        edits.replace(begin, begin, "_plexus_attribute(")
        edits.replace(end, edits.place(node)[1], f", {node.attr!r})")


def _rewrite_delete(node: ast.Delete, edits: _Edits) -> None:
    target = node.targets[0]
    begin, end = edits.place(node)
    if isinstance(target, ast.Subscript):
        (value, value_end), (key, key_end) = edits.place(target.value), edits.place(target.slice)
        edits.replace(begin, value, "(")
        edits.replace(value_end, key, ").pop(")
        edits.replace(key_end, end, ")")
    else:
        names = " = ".join(name.id for name in node.targets if isinstance(name, ast.Name))
        edits.replace(begin, end, f"{names} = (None)")


def _is_str(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "str"


def _binds(node: ast.AST, names: Container[str]) -> bool:
    """Return whether one of the names may mean something else than the builtin in this code."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return name in names
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name in names
        case ast.alias():
            return node.asname in names or node.name in names
    return False


def _method_of_str(name: str) -> str | None:
    """Return what stands for a method that is taken from the class, as `str.lower` is."""
    if name == "maketrans":
        return "(_plexus_maketrans)"
    if name.startswith("_") or not hasattr(str, name):
        return None
    text = "_plexus_text(_text)" if name in _TEXT_METHODS else "_text"
    return f"(lambda _text, *_rest, **_named: {text}.{name}(*_rest, **_named))"


def _assignments(node: ast.Import | ast.ImportFrom, used: set[str]) -> str | None:
    """Return what stands for an import of supplied modules, with a parenthesis at its end; None for another import."""
    parts = list(imported(node))
    if not any(module in SUPPLIED for module, _, _ in parts):
        return None
    natives: list[str] = []
    names: list[str] = []
    values: list[str] = []
    for module, name, alias in parts:
        if module not in SUPPLIED:
            natives.append(module if alias is None else f"{module} as {alias}")
            continue
        used.add(module)
        place = f"_plexus_modules[{module!r}]"
        if name is None and alias is None and "." in module:
            # `import rapidfuzz.fuzz` binds the package.
            used.add(module)
            place = f"_plexus_modules[{module.partition('.')[0]!r}]"
        names.append(alias or name or module.partition(".")[0])
        values.append(place if name is None else f"{place}.{name}")
    first = f"import {', '.join(natives)}; " if natives else ""
    return f"{first}{', '.join(names)}, = ({', '.join(values)},)"
