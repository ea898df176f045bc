"""The YAML of a RubricScore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from plexus_scoring.engines.portable.language.common import Language
from plexus_scoring.engines.portable.language.model_options import ModelOptions
from plexus_scoring.engines.portable.language.scores import Score

DEFAULT_WEIGHTS = {
    "codeQuality": 0.30,
    "correctness": 0.40,
    "documentation": 0.20,
    "performance": 0.10,
}
"""The assessment engine's criteria."""


class Strict(Language):
    """Base of what is RubricScore's own: an unknown key is an error, since a mistyped one would change grades."""

    model_config = ConfigDict(extra="forbid")


class BaseCriterion(Strict):
    """The keys of every criterion.

    A criterion below `minimum` (0..1) caps the overall score at `cap` (0..100), whatever the others are.
    """

    weight: float = Field(gt=0, le=1_000_000)
    description: str | None = Field(None, description="What is judged, in a sentence.")
    minimum: float | None = Field(None, ge=0, le=1)
    cap: float = Field(0.0, ge=0, le=100)


class JudgeCriterion(BaseCriterion):
    """A model judges. All such criteria are asked in one call."""

    by: Literal["judge"] = "judge"
    levels: dict[str, str] = Field(
        default_factory=dict, description="Points of 0 to 10 → what earns them."
    )


class MetricRange(Strict):
    """Where a metric earns all (`good`) and nothing (`bad`), and linearly between the two."""

    good: float
    bad: float

    @model_validator(mode="after")
    def _has_width(self) -> MetricRange:
        if self.good == self.bad:
            raise PydanticCustomError("rubric", "good and bad must differ")
        return self


class MetricsCriterion(BaseCriterion):
    """Static metrics of the code; the mean of those that are named."""

    by: Literal["metrics"]
    metrics: dict[
        Literal[
            "complexity",
            "worst_complexity",
            "function_length",
            "parameters",
            "long_lines",
            "comment_ratio",
            "documented_functions",
        ],
        MetricRange,
    ] = Field(min_length=1)


class TestsCriterion(BaseCriterion):
    """The share of the score's `tests` that pass, by their weights."""

    by: Literal["tests"]


class RunTimeCriterion(BaseCriterion):
    """Processor time of the slowest of the score's `tests` that passes, in seconds."""

    by: Literal["run_time"]
    good: float = Field(description="Seconds that earn all.", ge=0)
    bad: float = Field(description="Seconds that earn nothing.", gt=0)
    repeats: int = Field(1, ge=1, le=10, description="Runs of each test; the fastest counts.")

    @model_validator(mode="after")
    def _is_ordered(self) -> RunTimeCriterion:
        if self.good >= self.bad:
            raise PydanticCustomError("rubric", "good must be less than bad")
        return self


class WordRange(Strict):
    """How many words the text may have."""

    least: int = Field(0, ge=0)
    most: int | None = Field(None, ge=0)


class Rule(Strict):
    """One thing that must be found (or not found) in the text, in one of four ways."""

    name: str | None = None
    weight: float = Field(1.0, gt=0)
    must_be: Literal["present", "absent"] = "present"
    keywords: list[str] | None = Field(None, description="Whole words, whatever their case.")
    match: Literal["any", "all"] = "any"
    pattern: str | None = Field(None, description="A regular expression, whatever the case.")
    fuzzy: str | None = Field(None, description="A passage, found also with slips.")
    threshold: float = Field(85.0, ge=0, le=100, description="Likeness that counts as found.")
    words: WordRange | None = None

    @model_validator(mode="after")
    def _is_one_way(self) -> Rule:
        ways = [self.keywords, self.pattern, self.fuzzy, self.words]
        if sum(way is not None for way in ways) != 1:
            raise PydanticCustomError(
                "rubric", "give exactly one of keywords, pattern, fuzzy and words"
            )
        if self.keywords is not None and not any(word.strip() for word in self.keywords):
            raise PydanticCustomError("rubric", "keywords must have a word in it")
        return self


class RulesCriterion(BaseCriterion):
    """The share of rules that hold, by their weights."""

    by: Literal["rules"]
    rules: list[Rule] = Field(min_length=1)


class SimilarityCriterion(BaseCriterion):
    """How much of the submission stands in an earlier one (winnowed fingerprints)."""

    by: Literal["similarity"]
    metadata_key: str = Field(
        "earlier_submissions",
        description="The item's metadata that lists them: texts, or mappings with id and text.",
    )
    good: float = Field(0.3, ge=0, le=1, description="Share that still earns all.")
    bad: float = Field(0.8, ge=0, le=1, description="Share that earns nothing.")

    @model_validator(mode="after")
    def _is_ordered(self) -> SimilarityCriterion:
        if self.good >= self.bad:
            raise PydanticCustomError("rubric", "good must be less than bad")
        return self


def _way(data: Any) -> str:
    way = data.get("by", "judge") if isinstance(data, Mapping) else getattr(data, "by", "judge")
    # Pydantic puts the tag into an error's path, and `language.common` takes parts in angle brackets out.
    return f"<{way}>"


Criterion = Annotated[
    Annotated[JudgeCriterion, Tag("<judge>")]
    | Annotated[MetricsCriterion, Tag("<metrics>")]
    | Annotated[TestsCriterion, Tag("<tests>")]
    | Annotated[RunTimeCriterion, Tag("<run_time>")]
    | Annotated[RulesCriterion, Tag("<rules>")]
    | Annotated[SimilarityCriterion, Tag("<similarity>")],
    Discriminator(
        _way,
        custom_error_type="criterion_by",
        custom_error_message="has a `by` that is none of judge, metrics, tests, run_time, rules, similarity",
    ),
]


class TestCase(Strict):
    """One run of the submission. It passes if it ends with `exit_code` and prints what is expected."""

    name: str | None = None
    weight: float = Field(1.0, gt=0)
    arguments: list[str] = Field(default_factory=list)
    input: str = Field("", description="Standard input.")
    expect: str | None = Field(
        None, description="Standard output; white space at line ends does not count."
    )
    expect_pattern: str | None = Field(
        None, description="A regular expression to be found in standard output."
    )
    exit_code: int = 0


class TestLimits(Strict):
    """What one test may use."""

    seconds: float = Field(default=5.0, gt=0, le=120)
    memory_mb: int = Field(default=1_024, ge=16, le=65_536)
    output_kb: int = Field(default=64, ge=1, le=10_240)


class TestSuite(Strict):
    """How the submission is run. `{file}` in the command stands for its file's name."""

    file: str | None = Field(
        None, description="The submission's file name. Default: by the language."
    )
    command: list[str] | None = Field(None, description="Default: by the language.", min_length=1)
    files: dict[str, str] = Field(
        default_factory=dict, description="Further files: path → content."
    )
    cases: list[TestCase] = Field(min_length=1)
    limits: TestLimits = Field(default_factory=TestLimits)


class JudgeOptions(Strict):
    """How the model is asked."""

    instructions: str | None = Field(
        default=None, description="What the submission answers: the task. Jinja2, sees `metadata`."
    )
    repeats: int = Field(default=1, ge=1, le=10, description="Judgements; their mean counts.")
    retries: int = Field(
        default=2, ge=0, le=10, description="Further tries for an unusable answer."
    )


class RubricConfiguration(Score, ModelOptions):
    """Weighted criteria that make a score of 0 to 100."""

    class_: Literal["RubricScore"] = Field("RubricScore", alias="class")
    max_tokens: int | None = Field(2_000, ge=1)
    template: str | None = Field(
        None,
        description="code, tested-code, essay, or a file of PLEXUS_RUBRICS_DIR. Its keys are defaults for these.",
    )
    language: str | None = Field(None, description="Of the code; default: the item's metadata.")
    criteria: dict[str, Criterion] = Field(min_length=1)
    thresholds: dict[str, float] = Field(
        default_factory=dict,
        description="Name → least score (0..100), decided here, not by a model.",
    )
    value: Literal["score", "threshold"] = Field(
        "score", description="What the score's value is: 0..100, or the threshold's name."
    )
    tests: TestSuite | None = None
    judge: JudgeOptions = Field(default_factory=JudgeOptions)
    sandbox: Literal["auto", "local", "e2b"] = "auto"

    @field_validator("thresholds")
    @classmethod
    def _are_scores(cls, thresholds: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= least <= 100 for least in thresholds.values()):  # noqa: PLR2004
            raise PydanticCustomError("rubric", "thresholds are scores of 0 to 100")
        return thresholds

    @model_validator(mode="after")
    def _has_what_it_names(self) -> RubricConfiguration:
        ways = {criterion.by for criterion in self.criteria.values()}
        if ways & {"tests", "run_time"} and self.tests is None:
            raise PydanticCustomError(
                "rubric", "a criterion is judged by tests or run_time, and there are no `tests`"
            )
        if "judge" in ways and not self.model_name:
            raise PydanticCustomError(
                "rubric", "a criterion is judged by a model, and there is no `model_name`"
            )
        if self.value == "threshold" and not self.thresholds:
            raise PydanticCustomError(
                "rubric", "the value is to be a threshold's name, and there are no `thresholds`"
            )
        return self
