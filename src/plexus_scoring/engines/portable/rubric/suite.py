"""Criteria judged by running the submission: tests, and how long they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.regexes import compile_pattern, found_in
from plexus_scoring.engines.portable.rubric.code import CodeLanguage
from plexus_scoring.engines.portable.rubric.language import RunTimeCriterion, TestCase, TestSuite
from plexus_scoring.engines.portable.rubric.outcome import CriterionResult, on_scale
from plexus_scoring.engines.portable.rubric.together import together
from plexus_scoring.engines.sandbox.base import (
    MEBIBYTE,
    Sandbox,
    SandboxLimits,
    SandboxResult,
    Workspace,
)
from plexus_scoring.model.errors import ScoreFailed, shorten

SHOWN_FAILURES = 3
KEPT_OUTPUT = 2_000


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one test ended. `reason` says why it failed; `seconds` is its processor time, the fastest run's."""

    name: str
    weight: float
    passed: bool
    reason: str = ""
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""


class Suite:
    """A rubric's tests, ready to run."""

    def __init__(self, tests: TestSuite, source: ScoreSource) -> None:
        """Compile the patterns. Raises ScorecardError."""
        self._tests = tests
        self._patterns: list[str | None] = [
            compile_pattern(case.expect_pattern, source, "tests", "cases", number, "expect_pattern")
            if case.expect_pattern is not None
            else None
            for number, case in enumerate(tests.cases)
        ]
        self._limits = SandboxLimits(
            seconds=tests.limits.seconds,
            memory_bytes=tests.limits.memory_mb * MEBIBYTE,
            output_bytes=tests.limits.output_kb * 1024,
        )

    async def run(
        self, text: str, language: CodeLanguage, sandbox: Sandbox, *, repeats: int = 1
    ) -> list[CaseResult]:
        """Run every test in the sandbox.

        Raises:
            ScoreFailed: neither the rubric nor the language says how the submission is run.
            EngineUnavailable, ConfigurationError: of the sandbox.
        """
        file = self._tests.file or f"submission.{language.ending}"
        command = self._tests.command or language.command
        if command is None:
            raise ScoreFailed(
                f"the rubric's tests must say the `command` that runs {language.name}"
            )
        command = [part.replace("{file}", file) for part in command]
        files = {path: content.encode() for path, content in self._tests.files.items()}
        files[file] = text.encode("utf-8", "replace")
        async with sandbox.open(files) as workspace:
            return await together(
                self._case(workspace, command, case, number, repeats)
                for number, case in enumerate(self._tests.cases)
            )

    async def _case(
        self,
        workspace: Workspace,
        command: Sequence[str],
        case: TestCase,
        number: int,
        repeats: int,
    ) -> CaseResult:
        name = case.name or f"test {number + 1}"
        fastest: float | None = None
        for _ in range(repeats):
            ended = await workspace.run(
                [*command, *case.arguments], stdin=case.input, limits=self._limits
            )
            reason = await self._fault(case, self._patterns[number], ended)
            used = ended.cpu_seconds if ended.cpu_seconds is not None else ended.seconds
            fastest = used if fastest is None else min(fastest, used)
            if reason:
                break
        return CaseResult(
            name=name,
            weight=case.weight,
            passed=not reason,
            reason=reason,
            seconds=fastest or 0.0,
            stdout=ended.stdout[:KEPT_OUTPUT],
            stderr=ended.stderr[-KEPT_OUTPUT:],
        )

    async def _fault(self, case: TestCase, pattern: str | None, ended: SandboxResult) -> str:
        """Return why a run does not pass, or nothing."""
        if ended.timed_out:
            return f"took more than {self._limits.seconds:g} s"
        if ended.output_exceeded:
            return f"wrote more than {self._limits.output_bytes // 1024} KB"
        if ended.exit_code != case.exit_code:
            last = ended.stderr.strip().splitlines()[-1:]
            told = f" ({shorten(last[0], 120)})" if last else ""
            return f"ended with {ended.exit_code} instead of {case.exit_code}{told}"
        if case.expect is not None and _normal(ended.stdout) != _normal(case.expect):
            return f"printed {shorten(ended.stdout, 60)!r} instead of {shorten(case.expect, 60)!r}"
        if pattern is not None and not await found_in(ended.stdout, pattern):
            return f"printed {shorten(ended.stdout, 60)!r}, which is not what is expected"
        return ""


def judge_tests(cases: Sequence[CaseResult]) -> CriterionResult:
    """Return the share of tests that passed, by weight."""
    passed = [case for case in cases if case.passed]
    failed = [case for case in cases if not case.passed]
    feedback = f"{len(passed)} of {len(cases)} tests passed"
    if failed:
        shown = "; ".join(f"{case.name} {case.reason}" for case in failed[:SHOWN_FAILURES])
        more = len(failed) - SHOWN_FAILURES
        feedback += f"; failed: {shown}" + (f"; and {more} more" if more > 0 else "")
    return CriterionResult(
        score=sum(case.weight for case in passed) / sum(case.weight for case in cases),
        feedback=feedback,
        details={"cases": [_record(case) for case in cases]},
    )


def judge_run_time(criterion: RunTimeCriterion, cases: Sequence[CaseResult]) -> CriterionResult:
    """Return the slowest passing test's processor time on the criterion's scale.

    A submission that passes nothing is not fast but wrong: it earns nothing.
    """
    passed = [case for case in cases if case.passed]
    if not passed:
        return CriterionResult(score=0.0, feedback="no test passed, so no time counts")
    slowest = max(passed, key=lambda case: case.seconds)
    return CriterionResult(
        score=on_scale(slowest.seconds, criterion.good, criterion.bad),
        feedback=f"{slowest.seconds:.2f} s of processor time in the slowest test ({slowest.name})",
        details={"seconds": {case.name: case.seconds for case in passed}},
    )


def _normal(output: str) -> str:
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


def _record(case: CaseResult) -> Mapping[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(case)
    return record
