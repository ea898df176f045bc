"""The part of Plexus's schema that a scoring worker meets, as Amplify Gen 2 makes a GraphQL API of it.

Written from the facts of the schema's source: model names, fields, relations, indexes; and from Amplify's rules: what
queries and mutations a model gets, that every mutation takes a condition, how index queries are named.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from graphql import GraphQLSchema, build_schema


@dataclass(frozen=True)
class Model:
    """A model: its own fields, what it belongs to (name → type, key), what it has many of, its indexes."""

    fields: dict[str, str]
    one: dict[str, tuple[str, str]] = field(default_factory=dict)
    many: dict[str, tuple[str, str]] = field(default_factory=dict)
    indexes: tuple[tuple[str, ...], ...] = ()


def _text(*names: str) -> dict[str, str]:
    return {name.rstrip("!"): "String!" if name.endswith("!") else "String" for name in names}


_TIMES = {"createdAt": "AWSDateTime", "updatedAt": "AWSDateTime"}
_ACCOUNT = {"account": ("Account", "accountId")}

MODELS: dict[str, Model] = {
    "Account": Model(
        {**_text("name!", "key!", "description"), "settings": "AWSJSON"},
        many={"scorecards": ("Scorecard", "accountId"), "items": ("Item", "accountId")},
        indexes=(("key",),),
    ),
    "Scorecard": Model(
        _text("name!", "key!", "description", "guidelines", "accountId!", "externalId"),
        one=_ACCOUNT,
        many={"sections": ("ScorecardSection", "scorecardId"), "scores": ("Score", "scorecardId")},
        indexes=(("accountId",), ("key",), ("externalId",), ("name",), ("accountId", "externalId")),
    ),
    "ScorecardSection": Model(
        {**_text("name!", "scorecardId!"), "order": "Int!"},
        one={"scorecard": ("Scorecard", "scorecardId")},
        many={"scores": ("Score", "sectionId")},
        indexes=(("scorecardId",),),
    ),
    "Score": Model(
        {
            **_text("name!", "key", "description", "type!", "sectionId!", "scorecardId!"),
            **_text("championVersionId", "externalId!"),
            "order": "Int!",
            "isDisabled": "Boolean",
        },
        one={
            "section": ("ScorecardSection", "sectionId"),
            "scorecard": ("Scorecard", "scorecardId"),
            "championVersion": ("ScoreVersion", "championVersionId"),
        },
        many={"versions": ("ScoreVersion", "scoreId")},
        indexes=(("sectionId",), ("externalId",), ("key",), ("name",), ("scorecardId", "externalId")),
    ),
    "ScoreVersion": Model(
        {**_text("scoreId!", "configuration!", "guidelines", "isFeatured", "note", "branch"), **_TIMES},
        one={"score": ("Score", "scoreId")},
        indexes=(("scoreId", "createdAt"),),
    ),
    "Item": Model(
        {
            **_text("externalId", "description", "accountId!", "evaluationId", "scoreId", "createdByType"),
            **_text("text"),
            "isEvaluation": "Boolean!",
            "identifiers": "AWSJSON",
            "metadata": "AWSJSON",
            "attachedFiles": "[String]",
            **_TIMES,
        },
        one=_ACCOUNT,
        many={"scoreResults": ("ScoreResult", "itemId"), "scoringJobs": ("ScoringJob", "itemId")},
        indexes=(("accountId", "updatedAt"), ("accountId", "createdAt"), ("accountId", "externalId")),
    ),
    "ScoringJob": Model(
        {
            **_text("status!", "errorMessage", "itemId!", "accountId!", "scorecardId!", "scoreId"),
            **_text("evaluationId"),
            "startedAt": "AWSDateTime",
            "completedAt": "AWSDateTime",
            "errorDetails": "AWSJSON",
            "metadata": "AWSJSON",
            **_TIMES,
        },
        one={
            **_ACCOUNT,
            "item": ("Item", "itemId"),
            "scorecard": ("Scorecard", "scorecardId"),
            "score": ("Score", "scoreId"),
        },
        many={"scoreResults": ("ScoreResult", "scoringJobId")},
        indexes=(("accountId",), ("accountId", "createdAt"), ("itemId",), ("itemId", "scoreId"), ("scoreId",)),
    ),
    "ScoreResult": Model(
        {
            **_text("value!", "explanation", "type", "status", "itemId!", "accountId!", "scoringJobId"),
            **_text("evaluationId", "scorecardId!", "scoreVersionId", "scoreId", "code", "feedbackItemId"),
            "confidence": "Float",
            "metadata": "AWSJSON",
            "trace": "AWSJSON",
            "correct": "Boolean",
            "cost": "AWSJSON",
            "attachments": "[String]",
            **_TIMES,
        },
        one={
            **_ACCOUNT,
            "item": ("Item", "itemId"),
            "scoringJob": ("ScoringJob", "scoringJobId"),
            "scorecard": ("Scorecard", "scorecardId"),
            "score": ("Score", "scoreId"),
            "scoreVersion": ("ScoreVersion", "scoreVersionId"),
        },
        indexes=(
            ("accountId", "updatedAt"), ("itemId",), ("scoringJobId",), ("scorecardId", "updatedAt"),
            ("scoreVersionId",), ("scoreId",), ("type", "status", "updatedAt"),
            ("itemId", "type", "scoreId", "updatedAt"),
        ),
    ),
}  # fmt: skip

_COMMON = """
scalar AWSJSON
scalar AWSDateTime
enum ModelSortDirection { ASC DESC }
input ModelStringInput { eq: String ne: String le: String lt: String ge: String gt: String contains: String
  notContains: String between: [String] beginsWith: String attributeExists: Boolean }
input ModelStringKeyConditionInput { eq: String le: String lt: String ge: String gt: String between: [String]
  beginsWith: String }
input ModelBooleanInput { eq: Boolean ne: Boolean attributeExists: Boolean }
input ModelFloatInput { eq: Float ne: Float le: Float lt: Float ge: Float gt: Float attributeExists: Boolean }
"""
_CLAIM = """
input ClaimScoringJobInput { accountId: ID! scoringJobId: ID! itemId: ID! scorecardId: ID! scoreId: ID!
  scoreResultId: ID! }
type ScoringJobClaim { state: String! scoreResultId: ID! }
"""
_FILTERS = {"Boolean": "ModelBooleanInput", "Float": "ModelFloatInput", "Int": "ModelFloatInput"}
_PAGE = (
    "filter: Model{0}FilterInput, sortDirection: ModelSortDirection, limit: Int, nextToken: String"
)


def index_query(model: str, keys: tuple[str, ...]) -> str:
    """Return the name of an index's query."""
    return f"list{model}By" + "And".join(key[0].upper() + key[1:] for key in keys)


@functools.lru_cache
def schema(
    absent: frozenset[tuple[str, str]] = frozenset(), *, claims: bool = False
) -> GraphQLSchema:
    """Return the schema without the fields in `absent` (model, field): another release's.

    `claims` adds the mutation that 1.63's proxy has in its local mode.
    """
    parts, queries, mutations = [_COMMON], [], []
    for name, model in MODELS.items():
        own = {key: kind for key, kind in model.fields.items() if (name, key) not in absent}
        parts.append(_types(name, model, own))
        page = _PAGE.format(name)
        queries += [f"get{name}(id: ID!): {name}", f"list{name}s({page}): Model{name}Connection"]
        for keys in model.indexes:
            sort = "".join(f", {key}: ModelStringKeyConditionInput" for key in keys[1:])
            queries.append(
                f"{index_query(name, keys)}({keys[0]}: String!{sort}, {page}): Model{name}Connection"
            )
        for verb in ("Create", "Update", "Delete"):
            taken = f"input: {verb}{name}Input!, condition: Model{name}ConditionInput"
            mutations += [f"{verb.lower()}{name}({taken}): {name}"]
    if claims:
        parts.append(_CLAIM)
        mutations.append("claimScoringJob(input: ClaimScoringJobInput!): ScoringJobClaim")
    parts.append("type Query {\n" + "\n".join(queries) + "\n}")
    parts.append("type Mutation {\n" + "\n".join(mutations) + "\n}")
    return build_schema("\n".join(parts))


def _types(name: str, model: Model, own: dict[str, str]) -> str:
    page = _PAGE
    shown = {"id": "ID!", **dict(_TIMES), **own}
    lines = [f"{key}: {kind}" for key, kind in shown.items()]
    lines += [f"{key}: {kind}" for key, (kind, _) in model.one.items()]
    lines += [
        f"{key}({page.format(kind)}): Model{kind}Connection"
        for key, (kind, _) in model.many.items()
    ]
    filters = [
        f"{key}: {_FILTERS.get(kind.rstrip('!'), 'ModelStringInput')}"
        for key, kind in {"id": "ID", **dict(_TIMES), **own}.items()
    ]
    create = [f"{key}: {kind}" for key, kind in own.items()]
    update = [f"{key}: {kind.rstrip('!')}" for key, kind in own.items()]
    body = "\n".join
    return f"""
type {name} {{ {body(lines)} }}
type Model{name}Connection {{ items: [{name}]! nextToken: String }}
input Model{name}FilterInput {{ {body(filters)}
  and: [Model{name}FilterInput] or: [Model{name}FilterInput] not: Model{name}FilterInput }}
input Model{name}ConditionInput {{ {body(filters[1:])}
  and: [Model{name}ConditionInput] or: [Model{name}ConditionInput] not: Model{name}ConditionInput }}
input Create{name}Input {{ id: ID {body(create)} }}
input Update{name}Input {{ id: ID! {body(update)} }}
input Delete{name}Input {{ id: ID! }}
"""
