"""The scores of a scorecard."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from plexus_scoring.engines.portable.language.common import Language, OutputValue
from plexus_scoring.engines.portable.language.model_options import ModelOptions


class Processor(Language):
    """A step that changes the text before it is scored."""

    class_: str | None = Field(None, alias="class", description="Without it the step is skipped.")
    parameters: dict[str, Any] | None = None


class ItemOptions(Language):
    """Where the text comes from and what is done to it."""

    class_: str | None = Field(None, alias="class", description="An input source.")
    options: dict[str, Any] | None = None
    processors: list[Processor] | None = None


class DataOptions(Language):
    """Settings of training data; only its processors matter to scoring."""

    processors: list[Processor] | None = None


class DependencyCondition(Language):
    """What the other score's value must be; compared in lower case, stripped."""

    operator: str = Field("==", description="==, !=, in or not in.")
    value: Any = ""


class FieldValidation(Language):
    """What a value or explanation must look like."""

    valid_classes: list[str] | None = None
    patterns: list[str] | None = Field(
        None, description="Regular expressions, one of which must be found."
    )
    minimum_length: int | None = None
    maximum_length: int | None = None


class Validation(Language):
    """What the score's result must look like."""

    value: FieldValidation | None = None
    explanation: FieldValidation | None = None


class Score(Language):
    """The keys that every score has."""

    name: str = Field(min_length=1)
    id: str | None = None
    key: str | None = None
    externalId: str | None = None  # noqa: N815 - the language's own spelling
    description: str | None = None
    guidelines: str | None = None
    class_: str = Field("LangGraphScore", alias="class")
    depends_on: list[str] | dict[str, Any] | str | None = None
    disabled: bool | None = False
    item: ItemOptions | None = None
    data: DataOptions | None = None
    validation: Validation | None = None


class LangGraphScore(Score, ModelOptions):
    """A graph of nodes."""

    class_: Literal["LangGraphScore"] = Field("LangGraphScore", alias="class")
    graph: list[dict[str, Any]] = Field(min_length=1)
    input: dict[str, Any] | None = None
    output: dict[str, OutputValue] | None = Field(
        None,
        description="Field of the result → field to read, or a literal. A score's value is `value`.",
    )
    single_line_messages: bool = Field(
        default=False, description="Only nodes' own key has an effect."
    )
    thread_id: str | None = None


class TactusScore(Score, ModelOptions):
    """A procedure in Lua. Its model stands in the Lua: the model keys here are read and have no effect."""

    code: str | None = Field(None, description="The procedure.")
    tactus_code: str | None = Field(None, description="An older name of `code`.")
    valid_classes: list[str] | None = Field(
        None, description="Other values are warned about, not refused."
    )
    output: dict[str, Any] | None = Field(None, description="Has no effect.")
    parse_from_start: bool | None = None


class CompositeScore(Score):
    """Scores as elements, and a tree that decides by their values."""

    elements: list[dict[str, Any]] = Field(
        min_length=1, description="Scores: each has a name and the keys of its class."
    )
    decision_tree: dict[Any, Any] = Field(
        description="`element`, and for each of its values a further tree, a value, or {value, explanation}."
    )


class Keyword(Language):
    """A regular expression, where plain text does not do."""

    regex: str


class KeywordClassifier(Score):
    """True where the text has one of the keywords, whatever their case."""

    keywords: list[str | Keyword] = Field(min_length=1)
    match_value: str = "True"
    no_match_value: str = "False"
