"""`depends_on`: which scores must come first, and what their values must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SKIPPED = "SKIPPED"
DISABLED = "DISABLED"
ERROR = "ERROR"


@dataclass(frozen=True)
class ValueCondition:
    """What a dependency's value must be. Compared as text, lower case and stripped."""

    operator: str
    value: Any

    def holds(self, actual: str) -> bool:
        """Whether the value fits. An unknown operator never does."""
        have = _plain(actual)
        if self.operator == "==":
            return have == _plain(self.value)
        if self.operator == "!=":
            return have != _plain(self.value)
        wanted = self.value if isinstance(self.value, list) else [self.value]
        if self.operator == "in":
            return have in [_plain(one) for one in wanted]
        if self.operator == "not in":
            return have not in [_plain(one) for one in wanted]
        return False

    def __str__(self) -> str:
        return f"{self.operator} {self.value!r}"


@dataclass(frozen=True)
class Dependency:
    """A score that must come first, and the condition on its value, if any."""

    name: str
    condition: ValueCondition | None = None


def read_dependencies(depends_on: Any) -> tuple[Dependency, ...]:
    """Return the dependencies of a score: a list of names, a name, or a mapping of names to values or conditions.

    In a mapping, what is neither text nor a mapping is no condition, as upstream has it.
    """
    if isinstance(depends_on, str):
        return (Dependency(depends_on),)
    if isinstance(depends_on, list):
        return tuple(Dependency(str(name)) for name in depends_on)
    if isinstance(depends_on, Mapping):
        return tuple(
            Dependency(str(name), _condition(wanted)) for name, wanted in depends_on.items()
        )
    return ()


def _condition(wanted: Any) -> ValueCondition | None:
    if isinstance(wanted, str):
        return ValueCondition("==", wanted)
    if isinstance(wanted, Mapping):
        return ValueCondition(str(wanted.get("operator", "==")), wanted.get("value", ""))
    return None


def find_cycle(target: str, edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Return a cycle that `target` leads into, first name repeated at the end; None if there is none."""
    done: set[str] = set()
    path: list[str] = []
    on_path: set[str] = set()
    stack: list[tuple[str, Iterable[str]]] = [(target, iter(edges.get(target, ())))]
    path.append(target)
    on_path.add(target)
    while stack:
        name, rest = stack[-1]
        following = next(iter(rest), None)
        if following is None:
            stack.pop()
            path.pop()
            on_path.discard(name)
            done.add(name)
        elif following in on_path:
            return [*path[path.index(following) :], following]
        elif following not in done:
            stack.append((following, iter(edges.get(following, ()))))
            path.append(following)
            on_path.add(following)
    return None


def _plain(value: Any) -> str:
    return str(value).lower().strip()
