"""Rubrics by name: those that come with the package, and files of PLEXUS_RUBRICS_DIR."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from plexus_scoring.engines.portable.base import ScoreSource
from plexus_scoring.engines.portable.rubric.language import DEFAULT_WEIGHTS
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.yaml_document import parse_yaml

DIRECTORY_VARIABLE = "PLEXUS_RUBRICS_DIR"
OWN = pathlib.Path(__file__).with_name("templates")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_MERGED = ("criteria", "judge")


def with_template(source: ScoreSource) -> dict[str, Any]:
    """Return the score's keys over those of its template, and the default weights where criteria have none.

    Criteria and the judge's options are merged key by key; a criterion set to null is left out.
    Without `template` and `criteria` the rubric is the assessment engine's: `code`, or `tested-code` where there
    are tests.

    Raises:
        ScorecardError: no such template, or it is not a mapping.
    """
    entry = dict(source.entry)
    name = entry.get("template")
    if name is None and "criteria" not in entry:
        name = "tested-code" if entry.get("tests") is not None else "code"
    merged = _load(str(name), source) if name is not None else {}
    for key, value in entry.items():
        base = merged.get(key)
        if key in _MERGED and isinstance(value, Mapping) and isinstance(base, Mapping):
            merged[key] = _merge(base, value, deep=key == "criteria")
        else:
            merged[key] = value
    criteria = merged.get("criteria")
    if isinstance(criteria, Mapping):
        merged["criteria"] = {
            str(name): _weighted(str(name), criterion)
            for name, criterion in criteria.items()
            if criterion is not None
        }
    return merged


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], *, deep: bool) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if not deep or not isinstance(known, Mapping) or not isinstance(value, Mapping):
            merged[key] = value
        elif value.get("by", known.get("by")) != known.get("by"):
            # Another way of judging is another criterion: nothing of the template's fits it but its weight.
            merged[key] = {"weight": known.get("weight"), **value}
        else:
            merged[key] = {**known, **value}
    return merged


def _weighted(name: str, criterion: Any) -> Any:
    if isinstance(criterion, Mapping) and criterion.get("weight") is None:
        rest = {key: value for key, value in criterion.items() if key != "weight"}
        return {"weight": DEFAULT_WEIGHTS[name], **rest} if name in DEFAULT_WEIGHTS else rest
    return criterion


def _load(name: str, source: ScoreSource) -> dict[str, Any]:
    folders = [OWN]
    if os.environ.get(DIRECTORY_VARIABLE):
        folders.insert(0, pathlib.Path(os.environ[DIRECTORY_VARIABLE]))
    if not _NAME.fullmatch(name):
        raise source.error(
            f"the template {name!r} is no name: letters, digits, - and _", "template"
        )
    path = next((file for folder in folders if (file := folder / f"{name}.yaml").is_file()), None)
    if path is None:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        raise source.error(
            f"there is no rubric template {name!r}; there are {', '.join(known)} (more by {DIRECTORY_VARIABLE})",
            "template",
        )
    document = parse_yaml(path.read_text(encoding="utf-8"), file=path.name)
    if not isinstance(document.data, dict):
        raise ScorecardError("a rubric template must be a mapping", file=path.name, line=1)
    return dict(document.data)


def without_template(source: ScoreSource, merged: Mapping[str, Any]) -> ScoreSource:
    """Return the source with the merged keys; places of the template's own keys are the score's."""
    return dataclasses.replace(source, entry=merged)
