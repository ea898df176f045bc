"""`validation` of a score: what its result must look like."""

from __future__ import annotations

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language.scores import FieldValidation, Validation
from plexus_scoring.engines.portable.regexes import compile_pattern, found_in
from plexus_scoring.model.errors import ScoreFailed
from plexus_scoring.model.result import ScoreOutcome


def check_patterns(validation: Validation, source: ScoreSource) -> None:
    """Compile the patterns. Raises ScorecardError for one that is no regular expression."""
    for name in ("value", "explanation"):
        rules: FieldValidation | None = getattr(validation, name)
        for number, pattern in enumerate((rules.patterns if rules else None) or ()):
            compile_pattern(pattern, source, "validation", name, "patterns", number)


async def validate(outcome: ScoreOutcome, validation: Validation | None) -> None:
    """Raise ScoreFailed if the outcome is not what the scorecard asks for."""
    if validation is None:
        return
    for name, text in (("value", outcome.value), ("explanation", outcome.explanation or "")):
        rules: FieldValidation | None = getattr(validation, name)
        problem = await _problem(text, rules) if rules else None
        if problem:
            raise ScoreFailed(f"validation: the {name} {problem}")


async def _problem(text: str, rules: FieldValidation) -> str | None:
    if rules.valid_classes and text not in rules.valid_classes:
        return f"is none of {', '.join(rules.valid_classes)}"
    if rules.minimum_length is not None and len(text) < rules.minimum_length:
        return f"has {len(text)} characters; the minimum is {rules.minimum_length}"
    if rules.maximum_length is not None and len(text) > rules.maximum_length:
        return f"has {len(text)} characters; the maximum is {rules.maximum_length}"
    for pattern in rules.patterns or ():
        if await found_in(text, pattern):
            return None
    return "matches no pattern" if rules.patterns else None
