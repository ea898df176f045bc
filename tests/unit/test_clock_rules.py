"""No test passes or fails by the speed of the machine: what a test may not do with a clock, found in its source.

A line that must break a rule says why, in a comment that begins with ``clock:``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
UNCHECKED = (Path(__file__), *(TESTS / "integration" / "sandbox").iterdir())
"""A sandbox's limit of time is the machine's own: the kernel ends what overruns it."""
FILES = sorted(path for path in TESTS.rglob("*.py") if path not in UNCHECKED)
SHORTEST_GUARD = 60
"""Seconds. A shorter wait for something that must happen is a bet on the machine."""

CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "now", "utcnow"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS} | {"time_ns"}
DURATIONS = {"seconds", "elapsed", "duration", "took"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
WAITS = {"timeout", "timeout_at", "wait", "wait_for", "join", "result", "eventually", "until"}
EXCUSE = re.compile(r"#.*\bclock: \w")

Found = Iterator[tuple[ast.expr, str]]


def rule_breaks(source: str) -> list[tuple[int, str]]:
    """Return line and rule of whatever depends on a clock and has no excuse."""
    lines = source.splitlines()
    tree = ast.parse(source)
    found = [*compared(tree), *short_waits(tree), *slept_in_order(tree)]
    return sorted(
        (node.lineno, rule)
        for node, rule in found
        if not any(EXCUSE.search(line) for line in lines[node.lineno - 1 : node.end_lineno])
    )


def compared(tree: ast.Module) -> Found:
    """Find comparisons with a clock, with what was computed from one, or with a duration."""
    for scope in scopes(tree):
        names: set[str] | None = None
        for node in walk(scope):
            if not isinstance(node, ast.Compare):
                continue
            names = tainted(scope) if names is None else names
            if any(from_clock(part, names) for part in ast.walk(node)):
                yield (
                    node,
                    "compares a clock: wait on a signal, count steps, or give the code a clock of the test's",
                )
            elif any(isinstance(order, ORDERS) for order in node.ops) and any(
                name_of(part) in DURATIONS for part in (node.left, *node.comparators)
            ):
                yield node, "compares a duration: speed belongs in benchmarks/"


def scopes(tree: ast.Module) -> list[ast.AST]:
    """Return the module and its outermost functions."""
    found: list[ast.AST] = [tree]
    waiting: list[ast.AST] = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            (found if isinstance(child, FUNCTIONS) else waiting).append(child)
    return found


def walk(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk through a function and those within it; through a module without its functions."""
    waiting = [scope]
    while waiting:
        node = waiting.pop()
        yield node
        children = ast.iter_child_nodes(node)
        waiting += [
            child
            for child in children
            if isinstance(scope, FUNCTIONS) or not isinstance(child, FUNCTIONS)
        ]


def tainted(scope: ast.AST) -> set[str]:
    """Return the names in a function whose values come from a clock."""
    names: set[str] = set()
    while True:
        more = {
            target.id
            for node in walk(scope)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr)
            and node.value is not None
            and any(from_clock(part, names) for part in ast.walk(node.value))
            for goal in (node.targets if isinstance(node, ast.Assign) else [node.target])
            for target in ast.walk(goal)
            if isinstance(target, ast.Name)
        }
        if more <= names:
            return names
        names |= more


def from_clock(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression reads a clock or one of these names."""
    if isinstance(node, ast.Name):
        return node.id in names
    if not isinstance(node, ast.Call):
        return False
    # loop.time() and time.time() have no arguments; a test's own clock is called `clock`.
    ours = isinstance(node.func, ast.Attribute) and "clock" in (name_of(node.func.value) or "")
    return not ours and (
        name_of(node.func) in CLOCKS or (name_of(node.func) == "time" and not node.args)
    )


def short_waits(tree: ast.Module) -> Found:
    """Find waits that a slow machine does not keep."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        if name_of(node.func) in WAITS:
            limits += node.args[-1:]
        for limit in limits:
            value = limit.value if isinstance(limit, ast.Constant) else None
            if isinstance(value, int | float) and 0 < value < SHORTEST_GUARD:
                yield node, f"waits {value} s: the suite's own time limit ends what hangs"


def slept_in_order(tree: ast.Module) -> Found:
    """Find sleeps that no loop repeats: they bet that something else has happened meanwhile."""
    polls = {
        id(part)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for part in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or name_of(node.func) != "sleep" or id(node) in polls:
            continue
        if isinstance(node.func, ast.Attribute) and "clock" in (name_of(node.func.value) or ""):
            continue  # a test's own clock
        if node.args and not (isinstance(node.args[0], ast.Constant) and node.args[0].value == 0):
            yield node, "sleeps: wait on a signal"


def name_of(node: ast.AST) -> str | None:
    """Return the last name of ``a.b.c`` or ``a.b.c()``."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_depends_on_the_machines_speed(path: Path) -> None:
    broken = [
        f"{path.name}:{line} {rule}" for line, rule in rule_breaks(path.read_text(encoding="utf-8"))
    ]
    assert broken == []


def test_each_rule_finds_what_it_forbids_and_takes_an_excuse() -> None:
    source = """
async def test_slow():
    began = time.monotonic()
    await asyncio.sleep(0.2)
    took = time.monotonic() - began
    assert late(took) > 4
    assert result.seconds < 5
    assert clock.now() == 3
    while not done():
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        thread.join(0.5)
    await asyncio.wait_for(event.wait(), 3)
    process.communicate(timeout=30)
    assert loop.time() < 9
    assert loop.time() < 9  # clock: because
"""
    assert [line for line, _ in rule_breaks(source)] == [4, 6, 7, 11, 12, 13, 14, 15]
