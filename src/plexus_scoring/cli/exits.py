"""The exit codes, and which error gives which. They are a contract: scripts rely on them."""

from __future__ import annotations

from enum import IntEnum

from plexus_scoring.model.errors import (
    ConfigurationError,
    DependencyUnmet,
    InvalidRequest,
    NotFound,
    ScorecardError,
    ScoreDisabled,
    ScoringError,
)


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    PROBLEM = 1  # wrong set-up, or a check (doctor, demo) that found a fault
    BAD_INPUT = 2  # what the user named or wrote; also click's code for wrong usage
    SKIPPED = 3  # a dependency's condition is unmet, or the score is disabled
    FAILED = 4  # the score failed, or an engine, store or queue is not available


_CODES: tuple[tuple[type[ScoringError], Exit], ...] = (
    (ConfigurationError, Exit.PROBLEM),
    (InvalidRequest, Exit.BAD_INPUT),
    (NotFound, Exit.BAD_INPUT),
    (ScorecardError, Exit.BAD_INPUT),
    (DependencyUnmet, Exit.SKIPPED),
    (ScoreDisabled, Exit.SKIPPED),
)


def exit_of(error: ScoringError) -> Exit:
    """Return the exit code of an error that ends a command."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return Exit.FAILED
