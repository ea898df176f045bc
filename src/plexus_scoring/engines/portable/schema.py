"""JSON Schema of scorecard files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from plexus_scoring.engines.portable.language import nodes, scores
from plexus_scoring.engines.portable.nodes.registry import node_models
from plexus_scoring.engines.portable.rubric.language import RubricConfiguration

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def scorecard_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a scorecard, or of one score's own YAML.

    Scores and nodes are chosen by `class`; classes that come by entry point are allowed with any keys.
    """
    node_types = node_models()
    score_types: dict[str, type[scores.Score]] = {
        "LangGraphScore": scores.LangGraphScore,
        "KeywordClassifier": scores.KeywordClassifier,
        "CompositeScore": scores.CompositeScore,
        "RubricScore": RubricConfiguration,
    }
    wanted: list[tuple[Any, Any]] = [
        (model, "validation") for model in (*score_types.values(), *node_types.values(), nodes.Node)
    ]
    references, schema = models_json_schema(wanted, by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    node_refs = {name: references[(model, "validation")] for name, model in node_types.items()}
    score_refs = {name: references[(model, "validation")] for name, model in score_types.items()}
    definitions["GraphNode"] = _by_class(node_refs, closed=True)
    definitions["AnyScore"] = _by_class(score_refs, closed=False)
    for model in score_types.values():
        _named(definitions, references[(model, "validation")])
    graph = definitions["LangGraphScore"]["properties"]["graph"]
    graph["items"] = {"$ref": "#/$defs/GraphNode"}
    definitions["CompositeScore"]["properties"]["elements"]["items"] = {"$ref": "#/$defs/AnyScore"}
    _from_template(definitions["RubricConfiguration"])
    card = {
        "type": "object",
        "required": ["scores"],
        "properties": {
            "name": {"type": "string"},
            "key": {"type": "string"},
            "id": {"type": ["string", "integer"]},
            "externalId": {"type": ["string", "integer"]},
            "description": {"type": "string"},
            "processors": {"type": "array", "items": {"$ref": "#/$defs/Processor"}},
            "scores": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/AnyScore"}},
        },
    }
    return {
        "$schema": DIALECT,
        "title": "Plexus scorecard",
        "anyOf": [card, {"not": {"required": ["scores"]}, "$ref": "#/$defs/AnyScore"}],
        "$defs": definitions,
    }


def _by_class(references: dict[str, Any], *, closed: bool) -> dict[str, Any]:
    """Return a schema that chooses by `class`. `closed`: no other class is allowed."""
    chosen = [
        {
            "if": {"properties": {"class": {"const": name}}, "required": ["class"]},
            "then": reference,
        }
        for name, reference in references.items()
    ]
    known: dict[str, Any] = {"enum": sorted(references)} if closed else {"type": "string"}
    return {
        "type": "object",
        "required": ["name", "class"] if closed else ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "class": known},
        "allOf": chosen,
    }


def _from_template(rubric: dict[str, Any]) -> None:
    """A rubric's criteria may come from its template, which a null takes one out of."""
    rubric["required"] = [key for key in rubric.get("required", ()) if key != "criteria"]
    criteria = rubric["properties"]["criteria"]
    criteria["additionalProperties"] = {"anyOf": [{"type": ["null", "object"]}]}
    criteria.pop("minProperties", None)


def _named(definitions: dict[str, Any], reference: dict[str, Any]) -> None:
    """Ids are numbers in many files; the models read them as text."""
    properties = definitions[reference["$ref"].rsplit("/", 1)[-1]]["properties"]
    for key in ("id", "externalId", "key"):
        properties[key] = {"type": ["string", "integer", "null"]}
