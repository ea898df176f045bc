"""Lint: what is wrong with a scorecard, with file:line:column, the rule, and what to do."""

from plexus_scoring.engines.portable.lint.findings import Finding, Rule, Severity
from plexus_scoring.engines.portable.lint.linter import lint

__all__ = ["Finding", "Rule", "Severity", "lint"]
