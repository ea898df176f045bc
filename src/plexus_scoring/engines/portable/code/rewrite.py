"""Writes a scorecard's Python as the interpreter takes it, where a small change does what the interpreter lacks."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plexus_scoring.engines.portable.code.source import SUPPLIED, imported, parse

# Methods of texts that the interpreter lacks.
_TEXT_METHODS: Final = frozenset(("format_map", "translate"))


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

    Imports of supplied modules become assignments; ``del`` of an entry or a name, and methods of `str` taken from the
    class, become what does the same.
    """
    tree = parse(code)
    assert isinstance(tree, ast.Module)  # noqa: S101 - checked by the caller
    lines = code.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    text = code.encode()
    used: set[str] = set()
    edits: list[tuple[int, int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "logging":
            used.add("logging")  # Plexus hands it over without an import
        if not isinstance(node, (ast.stmt, ast.expr)):
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        if isinstance(node, ast.Attribute) and node.attr in _TEXT_METHODS:
            value = node.value
            middle = starts[(value.end_lineno or 1) - 1] + (value.end_col_offset or 0)
            edits += [(begin, begin, "_plexus_text("), (middle, middle, ")")]
            continue
        new = _replacement(node, used)
        if new is not None:
            # Later lines keep their numbers: an error's line is told to the author.
            blank = "\n" * ((node.end_lineno or node.lineno) - node.lineno)
            edits.append((begin, end, f"{new[:-1]}{blank})" if blank else new))
    kept = len(text)
    for begin, end, new in sorted(edits, key=lambda edit: (edit[1], edit[0]), reverse=True):
        if end <= kept:  # else it is a part of what was replaced already
            text = text[:begin] + new.encode() + text[end:]
            kept = begin
    return Source(text.decode(), tuple(sorted(used)))


def _method_of_str(node: ast.Attribute) -> str | None:
    if not isinstance(node.value, ast.Name) or node.value.id != "str":
        return None
    if node.attr == "maketrans":
        return "(_plexus_maketrans)"
    if node.attr.startswith("_") or not hasattr(str, node.attr):
        return None
    return f"(lambda _text, *_rest: _text.{node.attr}(*_rest))"


def _replacement(node: ast.AST, used: set[str]) -> str | None:
    """Return what stands for a statement, in parentheses at its end; None where it stays."""
    if isinstance(node, ast.Delete):
        targets = [
            f"({ast.unparse(target.value)}).pop({ast.unparse(target.slice)})"
            for target in node.targets
            if isinstance(target, ast.Subscript)
        ]
        set_none = "".join(
            f"{target.id} = " for target in node.targets if isinstance(target, ast.Name)
        )
        return (
            f"{set_none}({', '.join([*targets, 'None'])})"
            if set_none
            else f"({', '.join(targets)})"
        )
    if isinstance(node, ast.Attribute):
        return _method_of_str(node)
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return None
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
