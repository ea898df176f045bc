"""Lint on the scorecards of a checkout of Plexus: what Plexus's teams write has no finding that scoring does not share.

PLEXUS_SRC names the checkout (github.com/AnthusAI/Plexus). Nothing of it is in this repository.
"""

import os
from pathlib import Path

import pytest

from plexus_scoring.engines.portable import classes
from plexus_scoring.engines.portable.base import CompileOptions
from plexus_scoring.engines.portable.code import Interpreter
from plexus_scoring.engines.portable.lint import Rule, Severity, lint
from plexus_scoring.engines.portable.scorecard import ReadyScorecard
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard_yaml import load_scorecard

SOURCE = os.environ.get("PLEXUS_SRC")

pytestmark = pytest.mark.skipif(
    SOURCE is None,
    reason="NOT RUN: lint on Plexus's own scorecards (PLEXUS_SRC=checkout of github.com/AnthusAI/Plexus)",
)


def scorecards():
    """Yield the checkout's scorecards: YAML files whose scores have a class that scores."""
    for path in sorted(Path(SOURCE or "").rglob("*.y*ml")):
        if "node_modules" in path.parts or not path.is_file():
            continue
        try:
            card = load_scorecard(path.read_text(encoding="utf-8"), file=path.name)
            ready = ReadyScorecard(card, CompileOptions(interpreter=Interpreter()))
        except (ScorecardError, UnicodeError):
            continue
        known = (*classes.OWN, *classes.ELSEWHERE)
        if all(classes.class_name(source) in known for source in ready.sources.values()):
            yield path, ready


def refused(ready):
    """Return whether scoring refuses one of the scores."""
    try:
        for name in ready.sources:
            ready.ready(name)
    except ScorecardError:
        return True
    return False


def test_lint_says_of_upstreams_scorecards_what_scoring_does():
    found = [(path, ready, lint(path.read_text(encoding="utf-8"))) for path, ready in scorecards()]
    assert any("dashboard" in path.parts for path, _, _ in found), "no scorecards in PLEXUS_SRC"
    for path, ready, findings in found:
        errors = [one for one in findings if one.severity is Severity.ERROR]
        if refused(ready):
            assert errors, path
        else:
            # Plexus's own fixtures have scores whose value nothing sets: always "No", in Plexus as here.
            assert [str(one) for one in findings if one.rule is not Rule.NO_VALUE] == [], path


def test_strict_passes_on_the_scorecards_of_a_team():
    real = [path for path, _ in scorecards() if "dashboard" in path.parts]
    assert real
    assert [str(one) for path in real for one in lint(path.read_text(encoding="utf-8"))] == []
