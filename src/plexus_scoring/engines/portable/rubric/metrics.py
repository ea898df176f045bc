"""Static metrics of code: lizard counts functions and their paths, Pygments finds comments. Any common language."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import mean
from typing import Any

from plexus_scoring.engines.portable.rubric.code import (
    CodeLanguage,
    check_size,
    not_installed,
    tokens_of,
)
from plexus_scoring.engines.portable.rubric.language import MetricsCriterion
from plexus_scoring.engines.portable.rubric.outcome import CriterionResult, on_scale

LONG_LINE = 100
_HOW = {
    "complexity": "mean complexity {:.1f}",
    "worst_complexity": "greatest complexity {:.0f}",
    "function_length": "mean function of {:.1f} lines",
    "parameters": "at most {:.0f} parameters",
    "long_lines": "{:.0%} of lines longer than 100 characters",
    "comment_ratio": "comments on {:.0%} of lines",
    "documented_functions": "{:.0%} of functions documented",
}


async def judge_metrics(
    criterion: MetricsCriterion, text: str, language: CodeLanguage
) -> CriterionResult:
    """Return the mean of the named metrics, each on its scale.

    Raises:
        ScoreFailed: the code is too long.
        ConfigurationError: the rubric extra is not installed.
    """
    check_size(text)
    measured = await asyncio.to_thread(measure, text, language)
    scores = {
        name: on_scale(measured[name], scale.good, scale.bad)
        for name, scale in criterion.metrics.items()
    }
    return CriterionResult(
        score=mean(scores.values()) if text.strip() else 0.0,
        feedback=", ".join(_HOW[name].format(measured[name]) for name in scores)
        if text.strip()
        else "there is no code",
        details={"measured": measured, "scores": scores, "language": language.name},
    )


def measure(text: str, language: CodeLanguage) -> Mapping[str, Any]:
    """Return every metric, and `functions`, `lines` and `code_lines`.

    Code without functions counts as one: its complexity is 1 and its length the code's.
    """
    try:
        import lizard  # noqa: PLC0415  an extra, 0.15 s
    except ImportError as error:
        raise not_installed() from error
    analysis = lizard.analyze_file.analyze_source_code(f"submission.{language.ending}", text)
    functions = analysis.function_list
    complexities = [function.cyclomatic_complexity for function in functions] or [1]
    lengths = [function.nloc for function in functions] or [analysis.nloc]
    lines = text.splitlines()
    filled = [line for line in lines if line.strip()]
    comments = _comment_lines(text, language)
    starts = [(function.start_line, function.end_line) for function in functions]
    documented = sum(_is_documented(start, end, lines, comments) for start, end in starts)
    return {
        "complexity": mean(complexities),
        "worst_complexity": max(complexities),
        "function_length": mean(lengths),
        "parameters": max((len(function.full_parameters) for function in functions), default=0),
        "long_lines": sum(len(line) > LONG_LINE for line in filled) / max(1, len(filled)),
        "comment_ratio": len(comments) / max(1, len(filled)),
        "documented_functions": documented / len(starts) if starts else float(bool(comments)),
        "functions": len(functions),
        "lines": len(lines),
        "code_lines": analysis.nloc,
    }


def _comment_lines(text: str, language: CodeLanguage) -> set[int]:
    """Return the numbers, from 1, of lines that have a comment or a documentation string with words in it."""
    found: set[int] = set()
    number = 1
    for kind, content in tokens_of(text, language):
        parts = content.split("\n")
        if kind in ("comment", "doc"):
            found.update(
                number + offset
                for offset, part in enumerate(parts)
                if any(character.isalnum() for character in part)
            )
        number += len(parts) - 1
    return found


def _is_documented(start: int, end: int, lines: list[str], comments: set[int]) -> bool:
    """Whether a comment stands right above a function, or within its first two lines after the signature."""
    above = start - 1
    while above >= 1 and lines[above - 1].lstrip().startswith("@"):  # decorators, annotations
        above -= 1
    return above in comments or any(
        line in comments for line in range(start, min(end, start + 2) + 1)
    )
