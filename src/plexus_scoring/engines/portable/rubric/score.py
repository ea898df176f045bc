"""One rubric: judges every criterion, adds them up by weight, and says why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from plexus_scoring.engines.portable.base import ScoreInput, ScoreRun, ScoreSource
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.rubric import metrics, similarity, suite
from plexus_scoring.engines.portable.rubric.code import CodeLanguage, language_of
from plexus_scoring.engines.portable.rubric.judge import judge_by_model
from plexus_scoring.engines.portable.rubric.language import (
    Criterion,
    JudgeCriterion,
    MetricsCriterion,
    RubricConfiguration,
    RulesCriterion,
    RunTimeCriterion,
    SimilarityCriterion,
    TestsCriterion,
)
from plexus_scoring.engines.portable.rubric.outcome import CriterionResult
from plexus_scoring.engines.portable.rubric.rules import RulesJudge
from plexus_scoring.engines.portable.rubric.templates import with_template
from plexus_scoring.engines.portable.rubric.together import together
from plexus_scoring.engines.sandbox.base import Sandbox
from plexus_scoring.engines.sandbox.choice import make_sandbox
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.result import ScoreOutcome

if TYPE_CHECKING:
    from plexus_scoring.engines.portable.templates import Template


class RubricScore:
    """A compiled rubric. Implements `PortableScore`; its class implements `ScoreClass`.

    Args:
        configuration: The rubric.
        source: Where it stands, for errors.
        sandbox: Where tests run; None: as the configuration and the environment say.
    """

    def __init__(
        self,
        configuration: RubricConfiguration,
        source: ScoreSource,
        *,
        sandbox: Sandbox | None = None,
    ) -> None:
        self.configuration = configuration
        self._sandbox = sandbox
        self._instructions = _instructions(configuration, source)
        self._suite = suite.Suite(configuration.tests, source) if configuration.tests else None
        self._rules = {
            name: RulesJudge(criterion, source, "criteria", name)
            for name, criterion in configuration.criteria.items()
            if isinstance(criterion, RulesCriterion)
        }

    @classmethod
    def compile(cls, source: ScoreSource, *, sandbox: Sandbox | None = None) -> RubricScore:
        """Check the rubric. Raises ScorecardError."""
        configuration = read(RubricConfiguration, with_template(source), source)
        return cls(configuration, source, sandbox=sandbox)

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:
        """Judge all criteria, independent ones at the same time; the value is 0..100 or a threshold's name."""
        judged = await self._judge_all(given, run)
        criteria = self.configuration.criteria
        results = {name: judged[name] for name in criteria}
        total, caps = self._total(results)
        rounded = math.floor(total + 0.5)
        threshold = self._threshold(rounded)
        value = threshold if self.configuration.value == "threshold" else str(rounded)
        breakdown = {name: round(result.score, 4) for name, result in results.items()}
        variances = {
            name: result.variance for name, result in results.items() if result.variance is not None
        }
        return ScoreOutcome(
            value=value or "none",
            explanation=self._feedback(rounded, threshold, results, caps),
            trace={
                "criteria": [
                    {
                        "name": name,
                        "by": criteria[name].by,
                        "weight": criteria[name].weight,
                        **msgspec.to_builtins(result),
                    }
                    for name, result in results.items()
                ],
                "score": total,
            },
            metadata={
                "score": rounded,
                "breakdown": breakdown,
                **({"threshold": threshold} if threshold is not None else {}),
                **({"variance": variances} if variances else {}),
                **({"capped_by": caps} if caps else {}),
            },
        )

    async def _judge_all(self, given: ScoreInput, run: ScoreRun) -> dict[str, CriterionResult]:
        criteria = self.configuration.criteria
        by_model = {n: c for n, c in criteria.items() if isinstance(c, JudgeCriterion)}
        by_running = {
            name: criterion
            for name, criterion in criteria.items()
            if isinstance(criterion, (TestsCriterion, RunTimeCriterion))
        }
        parts = []
        if by_model:
            parts.append(
                judge_by_model(self.configuration, self._instructions, by_model, given, run)
            )
        if by_running:
            parts.append(self._judge_by_running(by_running, given))
        parts += [
            self._judge_alone(name, criterion, given)
            for name, criterion in criteria.items()
            if name not in by_model and name not in by_running
        ]
        judged: dict[str, CriterionResult] = {}
        for results in await together(parts):
            judged |= results
        return judged

    async def _judge_alone(
        self, name: str, criterion: Criterion, given: ScoreInput
    ) -> dict[str, CriterionResult]:
        if isinstance(criterion, MetricsCriterion):
            result = await metrics.judge_metrics(criterion, given.text, self._language(given))
        elif isinstance(criterion, SimilarityCriterion):
            result = await similarity.judge_similarity(
                criterion, given.text, given.metadata, self._code_language(given)
            )
        else:
            result = await self._rules[name].judge(given.text)
        return {name: result}

    async def _judge_by_running(
        self, criteria: dict[str, TestsCriterion | RunTimeCriterion], given: ScoreInput
    ) -> dict[str, CriterionResult]:
        assert self._suite is not None  # noqa: S101  the configuration's own check
        timed = [c for c in criteria.values() if isinstance(c, RunTimeCriterion)]
        sandbox = self._sandbox or make_sandbox(self.configuration.sandbox)
        try:
            cases = await self._suite.run(
                given.text,
                self._language(given),
                sandbox,
                repeats=max((criterion.repeats for criterion in timed), default=1),
            )
        finally:
            if sandbox is not self._sandbox:
                await sandbox.aclose()
        return {
            name: suite.judge_run_time(criterion, cases)
            if isinstance(criterion, RunTimeCriterion)
            else suite.judge_tests(cases)
            for name, criterion in criteria.items()
        }

    def _language(self, given: ScoreInput) -> CodeLanguage:
        return language_of(self.configuration.language, given.metadata)

    def _code_language(self, given: ScoreInput) -> CodeLanguage | None:
        """Return the language of a rubric about code; None for one about text."""
        about_code = self.configuration.language is not None or any(
            isinstance(criterion, (MetricsCriterion, TestsCriterion, RunTimeCriterion))
            for criterion in self.configuration.criteria.values()
        )
        return self._language(given) if about_code else None

    def _total(self, results: dict[str, CriterionResult]) -> tuple[float, list[str]]:
        """Return the weighted score of 0..100, and the criteria whose minimum was missed and lowered it."""
        criteria = self.configuration.criteria
        weights = sum(criterion.weight for criterion in criteria.values())
        total = 100 * sum(criteria[n].weight * r.score for n, r in results.items()) / weights
        caps = []
        for name, result in results.items():
            criterion = criteria[name]
            if criterion.minimum is not None and result.score < criterion.minimum:
                if total > criterion.cap:
                    caps.append(name)
                total = min(total, criterion.cap)
        # Ten digits: sums of weights such as 0.1 must not turn 84.5 into 84.49999.
        return round(total, 10), caps

    def _threshold(self, score: int) -> str | None:
        reached = [
            (least, name) for name, least in self.configuration.thresholds.items() if score >= least
        ]
        return max(reached)[1] if reached else None

    def _feedback(
        self,
        score: int,
        threshold: str | None,
        results: dict[str, CriterionResult],
        caps: list[str],
    ) -> str:
        criteria = self.configuration.criteria
        weights = sum(criterion.weight for criterion in criteria.values())
        named = f" ({threshold})" if threshold is not None else ""
        lines = [f"Overall Score: {score}/100{named}"]
        lines += [
            f"- {name}: {result.score * 100:.0f}/100 (weight {criteria[name].weight / weights:.0%}): {result.feedback}"
            for name, result in results.items()
        ]
        lines += [
            f"{name} is below its minimum of {(criteria[name].minimum or 0) * 100:.0f}/100, which caps the overall "
            f"score at {criteria[name].cap:g}"
            for name in caps
        ]
        return "\n".join(lines)


def _instructions(configuration: RubricConfiguration, source: ScoreSource) -> Template | None:
    if not configuration.judge.instructions:
        return None
    from plexus_scoring.engines.portable.templates import Template  # noqa: PLC0415 - 60 ms that only judges pay

    try:
        return Template(configuration.judge.instructions)
    except ScorecardError as error:
        path = ("judge", "instructions")
        raise source.error(f"judge instructions: {error.bare_message}", *path) from error


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a RubricScore, for editors."""
    return RubricConfiguration.model_json_schema(by_alias=True)
