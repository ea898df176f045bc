"""Findings and the rules they come from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from plexus_scoring.engines.portable.base import ScoreSource


class Severity(StrEnum):
    """An error stops scoring, or gives a value that nobody meant; a warning is odd, but runs."""

    ERROR = "error"
    WARNING = "warning"


class Rule(StrEnum):
    """The rules' ids. They are stable: editors and CI may name them."""

    YAML = "yaml"
    UNKNOWN_CLASS = "unknown-class"
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    INVALID_VALUE = "invalid-value"
    DUPLICATE_NAME = "duplicate-name"
    UNKNOWN_DEPENDENCY = "unknown-dependency"
    DEPENDENCY_CYCLE = "dependency-cycle"
    UNKNOWN_OPERATOR = "unknown-operator"
    UNKNOWN_NODE = "unknown-node"
    UNREACHABLE_NODE = "unreachable-node"
    ENDLESS_LOOP = "endless-loop"
    IGNORED_ROUTING = "ignored-routing"
    LOST_OUTPUT = "lost-output"
    NO_VALUE = "no-value"
    UNKNOWN_FIELD = "unknown-field"
    UNQUOTED_NUMBER = "unquoted-number"
    UNKNOWN_CONDITION_VALUE = "unknown-condition-value"
    DUPLICATE_CONDITION = "duplicate-condition"
    UNDEFINED_VARIABLE = "undefined-variable"
    TEMPLATE = "template"
    REGEX = "regex"
    MISSING_MODEL = "missing-model"
    CODE = "code"
    UNDEFINED_NAME = "undefined-name"
    LOST_EXPLANATION = "lost-explanation"
    INPUT_SOURCE = "input-source"
    UNKNOWN_PROCESSOR = "unknown-processor"


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One problem. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    rule: Rule
    severity: Severity
    message: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.severity} [{self.rule}] {self.message} → {self.fix}"


class Findings:
    """Gathers findings, each once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: set[Finding] = set()

    def add(
        self,
        source: ScoreSource,
        rule: Rule,
        message: str,
        fix: str,
        *path: Any,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add a finding at `path` below a score."""
        line, column = source.document.find((*source.path, *path))
        self.add_at(rule, message, fix, line=line, column=column, severity=severity)

    def add_at(
        self,
        rule: Rule,
        message: str,
        fix: str,
        *,
        line: int,
        column: int,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add a finding at a place."""
        self._found.add(
            Finding(
                file=self.file,
                line=line,
                column=column,
                rule=rule,
                severity=severity,
                message=message,
                fix=fix,
            )
        )

    def has_error_at(self, line: int) -> bool:
        """Whether this line has an error already."""
        return any(found.line == line and found.severity is Severity.ERROR for found in self._found)

    def sorted(self) -> list[Finding]:
        """Return the findings in the file's order."""
        return sorted(self._found)


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that `name` probably means. `cutoff`: how alike they must be, 0 to 1."""
    by_fold = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return advice on a name that does not exist."""
    names = list(known)
    near = closest(name, names)
    return f"did you mean {near!r}?" if near else f"use one of {', '.join(names)}"
