"""What all parts of the language share: the base model and how its errors are told to an author."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.yaml_scalars import as_written

OutputValue = Annotated[Any, AfterValidator(as_written)]
"""A value that is no setting but part of an answer: a number in it has the text that its author wrote."""


class Language(BaseModel):
    """Base of the language's models. Unknown keys are kept: `lint` warns about them, scoring ignores them."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        populate_by_name=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,
        defer_build=True,  # building all classes of nodes takes longer than a first score
    )


Model = TypeVar("Model", bound=Language)

_WORDS = {
    "missing": "is missing",
    "string_type": "must be text (true, false and null are text in quotes only)",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "too_short": "needs at least one entry",
    "string_too_short": "must not be empty",
}


def read(model: type[Model], data: Mapping[str, Any], source: ScoreSource, *path: Any) -> Model:
    """Validate `data`, which stands at `path` below the score.

    Raises:
        ScorecardError: the first problem, with its place; the number of further ones is told.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise describe(error, source, *path) from error


def describe(error: ValidationError, source: ScoreSource, *path: Any) -> ScorecardError:
    """Return the first problem of a validation as an error at its place in the YAML."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    where = (*path, *(part for part in first["loc"] if not is_branch(part)))
    key = ".".join(str(part) for part in where)
    what = f"{key} {words(first['type'], first['msg'])}".strip()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return source.error(f"{what}{more}", *where)


def words(kind: str, message: str) -> str:
    """Return one of pydantic's problems in an author's words."""
    return _WORDS.get(kind) or message.replace("Input should be", "must be")


def is_branch(part: Any) -> bool:
    """Whether pydantic put the name of a union's branch into the path."""
    return isinstance(part, str) and (part[:1] == "<" or "[" in part or part in ("str", "Keyword"))
