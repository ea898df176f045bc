"""Records in memory that behave as DynamoDB behind AppSync does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError

from tests.support.graphql_schema import MODELS

MAX_RECORD_BYTES = 400 * 1024
DEFAULT_LIMIT = 100
CLAIM_SECONDS = 120
Record = dict[str, Any]


class ConditionError(GraphQLError):
    """A condition was false."""

    def __init__(self) -> None:
        super().__init__(
            "The conditional request failed (Service: DynamoDb, Status Code: 400)",
            extensions={"errorType": "DynamoDB:ConditionalCheckFailedException"},
        )


class Tables:
    """The records, and what queries and mutations do with them."""

    def __init__(self, now: Callable[[], float], *, any_account: bool) -> None:
        self.records: dict[str, dict[str, Record]] = {name: {} for name in MODELS}
        self.claims: dict[tuple[str, str], Record] = {}
        self.broken: set[tuple[str, str]] = set()
        self._now = now
        self._any_account = any_account

    def put(self, model: str, values: Mapping[str, Any]) -> Record:
        """Store a record as it is."""
        now = self.timestamp()
        record = {
            "id": str(uuid.uuid4()), "createdAt": now, "updatedAt": now, "__typename": model, **values,
        }  # fmt: skip
        self._check(model, record)
        self.records[model][record["id"]] = record
        return record

    def timestamp(self) -> str:
        return (
            datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        )

    def get(self, model: str, record_id: str | None) -> Record | None:
        if (model, record_id or "") in self.broken:
            raise GraphQLError(
                "cannot be read", extensions={"errorType": "DynamoDB:InternalServerError"}
            )
        return self.records[model].get(record_id or "")

    def create(self, model: str, values: Record, condition: Record | None) -> Record:
        if values.get("id") in self.records[model] or condition is not None:
            raise ConditionError
        return self.put(model, {name: value for name, value in values.items() if value is not None})

    def update(self, model: str, values: Record, condition: Record | None) -> Record:
        record = self.records[model].get(values["id"])
        if record is None or not matches(record, condition or {}):
            raise ConditionError
        changed = {**record, "updatedAt": self.timestamp(), **values}
        changed = {name: value for name, value in changed.items() if value is not None}
        self._check(model, changed)
        self.records[model][record["id"]] = changed
        return changed

    def claim(self, input: Record) -> Record:  # noqa: A002  GraphQL's word
        """Claim a job as the GraphQL proxy of Plexus 1.63 does; a claim holds for two minutes."""
        values = input
        key, scope = (
            (values["accountId"], values["scoringJobId"]),
            ("itemId", "scorecardId", "scoreId"),
        )
        held, ours = self.claims.get(key), values["scoreResultId"]
        if held is not None:
            named = held["scoreResultId"]
            if any(held[name] != values[name] for name in scope):
                return {"state": "CONFLICT", "scoreResultId": named}
            if named in self.records["ScoreResult"]:
                return {"state": "COMPLETED", "scoreResultId": named}
            if self._now() < held["at"] + CLAIM_SECONDS:
                return {"state": "IN_PROGRESS", "scoreResultId": named}
        self.claims[key] = {**values, "at": self._now()}
        return {"state": "CLAIMED", "scoreResultId": ours}

    def delete(self, model: str, values: Record, condition: Record | None) -> Record:
        record = self.records[model].get(values["id"])
        if record is None or not matches(record, condition or {}):
            raise ConditionError
        return self.records[model].pop(record["id"])

    def query(self, model: str, keys: tuple[str, ...], args: Record) -> Record:
        """Return a page of an index (or, without keys, of the table)."""
        if model == "Account" and keys == ("key",) and self._any_account:
            self._make_account(args["key"])
        found = [
            record
            for record in self.records[model].values()
            if all(record.get(key) is not None for key in keys)
            and all(
                record[key] == args[key]
                if place == 0
                else matches(record, {key: args.get(key) or {}})
                for place, key in enumerate(keys)
            )
        ]
        found.sort(
            key=lambda record: [str(record[key]) for key in keys[1:]] + [record["id"]],
            reverse=args.get("sortDirection") == "DESC",
        )
        start = int(args.get("nextToken") or 0)
        end = start + (args.get("limit") or DEFAULT_LIMIT)
        page = [record for record in found[start:end] if matches(record, args.get("filter") or {})]
        return {"items": page, "nextToken": str(end) if end < len(found) else None}

    def _make_account(self, key: str) -> None:
        if not any(record["key"] == key for record in self.records["Account"].values()):
            self.put("Account", {"name": key, "key": key})

    def _check(self, model: str, record: Record) -> None:
        keys = {"id"} | {key for index in MODELS[model].indexes for key in index}
        for key in keys:
            if record.get(key) == "":
                raise GraphQLError(
                    f"The AttributeValue for a key attribute cannot contain an empty string value. Key: {key}",
                    extensions={"errorType": "DynamoDB:DynamoDbException"},
                )
        if (
            len(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))
            > MAX_RECORD_BYTES
        ):
            raise GraphQLError(
                "Item size has exceeded the maximum allowed size",
                extensions={"errorType": "DynamoDB:DynamoDbException"},
            )


def matches(record: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether a record fits a filter or condition."""
    for name, test in condition.items():
        if name == "and":
            fits = all(matches(record, part) for part in test)
        elif name == "or":
            fits = any(matches(record, part) for part in test)
        elif name == "not":
            fits = not matches(record, test)
        else:
            fits = all(_holds(record.get(name), op, value) for op, value in (test or {}).items())
        if not fits:
            return False
    return True


def _holds(held: Any, operator: str, value: Any) -> bool:
    if operator == "attributeExists":
        return (held is not None) == value
    if operator == "ne":
        return bool(held != value)
    if held is None:
        return False
    tests: dict[str, Callable[[], bool]] = {
        "eq": lambda: held == value,
        "le": lambda: held <= value,
        "lt": lambda: held < value,
        "ge": lambda: held >= value,
        "gt": lambda: held > value,
        "contains": lambda: value in held,
        "notContains": lambda: value not in held,
        "beginsWith": lambda: held.startswith(value),
        "between": lambda: value[0] <= held <= value[1],
    }
    return tests[operator]()
