"""Keys and values against the language's models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.language.common import is_branch, words
from plexus_scoring.engines.portable.language.scores import DataOptions
from plexus_scoring.engines.portable.lint.findings import Findings, Rule, Severity, closest
from plexus_scoring.model.yaml_scalars import WrittenFloat, WrittenInteger

# Keys that Plexus's tools read from a score's YAML and that have no part in scoring.
_OF_TOOLS = frozenset(
    (
        "version", "isDisabled", "championVersionId", "tags", "notes", "title", "rubric", "rubric_memory",
        "external_id", "label_score_name", "label_field", "number_of_classes", "dependencies", "parameters",
        "parent", "evaluation", "optimizer", "prompts", "order", "type", "scorecard_name", "score_name",
        "example_refinement_template", "dataset", "searches", "queries", "balance", "valid_classes", "classes",
    )
)  # fmt: skip
# What selects training data has keys of its own for each class, and none of them is for scoring.
_OPEN = frozenset((DataOptions,))
# Keys whose values are texts.
_TEXTS = frozenset(
    (
        "id", "key", "externalId", "external_id", "name", "version", "valid_classes", "value", "output", "target",
        "classification_mapping", "default_classification", "keywords", "match_value", "no_match_value", "depends_on",
    )
)  # fmt: skip
_VALUE_FIXES = {
    "string_type": "put quotes around it",
    "int_type": "write digits, without quotes",
    "int_parsing": "write digits, without quotes",
    "literal_error": "write one of them",
    "too_short": "add an entry",
    "list_type": "write `- …` lines below the key, or […]",
    "dict_type": "write `key: value` lines below the key",
    "model_type": "write `key: value` lines below the key",
}
_FEW = 10


def check_keys(
    model: type[BaseModel],
    data: Mapping[str, Any],
    source: ScoreSource,
    findings: Findings,
    *path: Any,
) -> bool:
    """Report unknown keys and values that do not fit. Return whether the values fit."""
    check_unknown(model, data, source, findings, *path)
    try:
        model.model_validate(dict(data))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            where = [part for part in problem["loc"] if not is_branch(part)]
            missing = problem["type"] == "missing"
            key = ".".join(str(part) for part in where)
            what = words(problem["type"], problem["msg"])
            findings.add(
                source,
                Rule.MISSING_KEY if missing else Rule.INVALID_VALUE,
                f"{key} {what}",
                f"add `{where[-1]}: …`"
                if missing and where
                else _VALUE_FIXES.get(problem["type"], "correct the value"),
                *path,
                *where,
            )
        return False
    return True


def check_unknown(
    model: type[BaseModel],
    data: Mapping[str, Any],
    source: ScoreSource,
    findings: Findings,
    *path: Any,
) -> None:
    """Report keys that the model does not have, at any depth that the language knows."""
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in data.items():
        field = known.get(key)
        if field is not None:
            _nested(field.annotation, value, source, findings, *path, key)
            continue
        if model in _OPEN or (key in _OF_TOOLS and not path):
            continue
        fix = "take it out, or correct its name"
        if near := closest(str(key), known):
            fix = f"did you mean {near!r}?"
        elif len(known) <= _FEW:
            fix = f"take it out, or use one of {', '.join(known)}"
        findings.add(
            source,
            Rule.UNKNOWN_KEY,
            f"{key!r} is no key of {_title(model)} and has no effect",
            fix,
            *path,
            key,
            severity=Severity.WARNING,
        )


def _nested(
    annotation: Any, value: Any, source: ScoreSource, findings: Findings, *path: Any
) -> None:
    """Look into values whose keys the language knows, too: conditions, edges, targets, validation."""
    models = _models(annotation)
    if isinstance(value, list):
        for number, item in enumerate(value):
            _nested(annotation, item, source, findings, *path, number)
    elif isinstance(value, Mapping) and get_origin(annotation) is dict:
        for key, item in value.items():
            _nested(get_args(annotation)[1], item, source, findings, *path, key)
    elif isinstance(value, Mapping) and models:
        fitting = max(models, key=lambda one: len(_names(one) & set(value)))
        check_unknown(fitting, value, source, findings, *path)


def lint_numbers(source: ScoreSource, findings: Findings) -> None:
    """Report numbers that stand for their text, and that Plexus's loader writes in another way."""
    for path, number in _numbers(source.entry):
        if _TEXTS.isdisjoint(path):
            continue
        plain = repr(float(number) if isinstance(number, WrittenFloat) else int(number))
        findings.add(
            source,
            Rule.UNQUOTED_NUMBER,
            f"{number} is the text {str(number)!r} here; Plexus's own loader makes {plain} of it",
            f'put quotes around it: "{number}"',
            *path,
            severity=Severity.WARNING,
        )


def _numbers(
    value: Any, *path: Any
) -> Iterator[tuple[tuple[Any, ...], WrittenInteger | WrittenFloat]]:
    if isinstance(value, WrittenInteger | WrittenFloat):
        yield path, value
        return
    parts = (
        value.items()
        if isinstance(value, Mapping)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        yield from _numbers(part, *path, key)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def _names(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _title(model: type[BaseModel]) -> str:
    names = {"Node": "a node", "RubricConfiguration": "RubricScore"}
    return names.get(model.__name__) or model.__name__.removesuffix("Node")
