"""The nodes of a LangGraphScore's graph."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from plexus_scoring.engines.portable.language.common import Language, OutputValue
from plexus_scoring.engines.portable.language.model_options import ModelOptions

Output = dict[str, OutputValue]
"""Field to set → field to read; where no such field exists, the literal itself."""


class Condition(Language):
    """Where to go when `classification` has this value, whatever its case."""

    value: str
    state: str | None = Field(
        None, description="Not used for routing: it always looks at classification."
    )
    node: str | None = Field(None, description="A node's name, or END. Default: the next node.")
    output: Output | None = None


class Edge(Language):
    """Where to go when no condition fits."""

    node: str | None = Field(None, description="A node's name, or END. Default: the next node.")
    output: Output | None = None


class Node(ModelOptions):
    """The keys that every node has."""

    name: str = Field(min_length=1)
    class_: str = Field(alias="class")
    system_message: str | None = Field(None, description="Jinja2 template.")
    user_message: str | None = Field(None, description="Jinja2 template.")
    example_refinement_message: str | None = None
    single_line_messages: bool = False
    input: dict[str, str] | None = Field(
        None, description="Field to set before the node → field to read."
    )
    output: Output | None = Field(
        None,
        description="Fields to set after the node. On a node that is not last, conditions and edge are off.",
    )
    edge: Edge | None = None
    conditions: list[Condition] | None = None
    batch: bool = False


class ClassifierNode(Node):
    """Asks a model for one of `valid_classes`, and again until it is one."""

    valid_classes: list[str]
    explanation_message: str | None = Field(None, description="Has no effect on this class.")
    maximum_retry_count: int = Field(6, ge=0, le=50)
    parse_from_start: bool | None = False
    confidence: bool = Field(
        default=False, description="Compute confidence from log probabilities."
    )
    confidence_calibration: dict[str, Any] | None = None


class YesOrNoClassifierNode(Node):
    """Asks a model; the last "yes" or "no" of the answer counts."""

    explanation_message: str | None = None
    explanation_model: ModelOptions | None = None
    parse_from_start: bool | None = False
    maximum_retry_count: int = Field(3, ge=0, le=50)


class MultiClassClassifierNode(Node):
    """Asks a model for one of `valid_classes`, by substring or fuzzily."""

    fuzzy_match: bool = False
    fuzzy_match_threshold: float = 0.8
    valid_classes: list[str] = Field(min_length=1)
    explanation_message: str | None = None
    explanation_model: ModelOptions | None = None
    maximum_retry_count: int = Field(3, ge=0, le=50)
    parse_from_start: bool | None = False


class NumericClassifierNode(Node):
    """Asks a model; the first number of the answer counts. A range needs both ends."""

    numeric_min: str | None = None
    numeric_max: str | None = None


class ExtractorNode(Node):
    """Asks a model for a quote and finds it in the text."""

    fuzzy_match_score_cutoff: int = Field(50, ge=0, le=100)
    use_exact_matching: bool = False
    trust_model_output: bool = False


class GeneratorNode(Node):
    """Asks a model and keeps the answer."""

    maximum_retry_count: int = Field(1, ge=0, le=50)


class BeforeAfterSlicerNode(Node):
    """Asks a model for a quote and cuts the text before the sentence that fits it best."""


class ContextExtractorNode(Node):
    """Asks a model for a quote and takes the text around it."""

    system_message: str
    user_message: str
    context_before: int = Field(100, ge=0)
    context_after: int = Field(100, ge=0)
    use_sentence_boundaries: bool = True
    fuzzy_match_threshold: int = Field(70, ge=0, le=100)


class LogicalClassifierNode(Node):
    """Runs `score(parameters, input)` of `code`; None goes on to the next node."""

    code: str


class LogicalNodeNode(Node):
    """Runs a function of `code` and sets fields from what it returns."""

    code: str
    function_name: str = "execute"
    output_mapping: dict[str, str] | None = Field(
        None, description="Field to set → key of the result."
    )


class FuzzyTarget(Language):
    """A text to look for."""

    target: str
    threshold: int = Field(ge=0, le=100)
    scorer: Literal[
        "ratio", "partial_ratio", "token_sort_ratio", "token_set_ratio", "WRatio", "QRatio"
    ] = "ratio"
    preprocess: bool = Field(
        default=False, description="Compare in lower case, without punctuation."
    )


def _kind_of_target(value: Any) -> str:
    """Tell a group from a target, so that a mistake in one is told in its own words."""
    names = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "<group>" if "items" in names or "operator" in names else "<target>"


AnyTarget = Annotated[
    Annotated["FuzzyTargetGroup", Tag("<group>")] | Annotated[FuzzyTarget, Tag("<target>")],
    Discriminator(_kind_of_target),
]


class FuzzyTargetGroup(Language):
    """Targets, all or any of which must be found."""

    operator: Literal["and", "or"]
    items: Annotated[list[AnyTarget], Field(min_length=1)]


class FuzzyMatchClassifierNode(Node):
    """Looks for targets in fields of the state; the best match is the classification."""

    data_paths: list[str]
    targets: AnyTarget
    classification_mapping: dict[str, str] = Field(default_factory=dict)
    default_classification: str | None = None


class FuzzyMatchExtractorNode(Node):
    """Looks for targets in the text."""

    targets: AnyTarget
