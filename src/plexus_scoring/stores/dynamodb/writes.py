"""The conditional writes that take a job and that end it, as requests.

The conditions say what ``stores/transitions.py`` says in Python.
"""

from __future__ import annotations

from typing import Any

from plexus_scoring.model.job import JobKey, JobStatus, Lease, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.stores.dynamodb import rows, table
from plexus_scoring.stores.dynamodb.calls import Attributes
from plexus_scoring.stores.dynamodb.expressions import Expression, Value, number, text

Attribute = dict[str, Value]


def taken(key: JobKey, *, now: float, token: str, lease_seconds: float) -> Attribute:
    """Return what a claim sets, besides the attempt."""
    return {
        **rows.state(JobStatus.IN_PROGRESS, now),
        "lease_token": text(token),
        "lease_expires_at": number(now + lease_seconds),
        "started_at": number(now),
        table.OPEN_HASH: rows.open_shard(key.id),
    }


def creation(job: ScoringJob, body: Value) -> Attribute:
    """Return what a claim sets only where no job is stored yet."""
    return {**rows.creation(job, body), "not_before": number(job.not_before)}


def claim(
    taken: Attribute,
    created: Attribute | None,
    *,
    account: str,
    now: float,
    unmarked: bool = False,
) -> dict[str, Any]:
    """Return the UpdateItem that takes a job of the account if it may be taken.

    With `created`, also one that does not exist, but none of other content. `unmarked`: the job's
    row, of the first layout, was found to have this content; it is taken if it still says nothing of it.
    """
    expression = Expression()
    status = expression.name("status")
    condition = (
        f"(({status} = {expression.value(text(JobStatus.PENDING))}"
        f" AND {expression.at_most('not_before', number(now))}) OR "
        f"({status} = {expression.value(text(JobStatus.IN_PROGRESS))}"
        f" AND {expression.at_most('lease_expires_at', number(now))}))"
        f" AND {expression.equals(table.LISTING_HASH, text(account))}"
    )
    if created is not None:
        if unmarked:
            condition += f" AND attribute_not_exists({expression.name(rows.CONTENT)})"
        else:
            condition += f" AND {expression.equals(rows.CONTENT, created[rows.CONTENT])}"
            absent = f"attribute_not_exists({expression.name(table.PARTITION_KEY)})"
            condition = f"({condition}) OR {absent}"
    update = expression.set(taken, keep=created or {})
    attempt = expression.name("attempt")
    zero, one = expression.value(number(0)), expression.value(number(1))
    update += f", {attempt} = if_not_exists({attempt}, {zero}) + {one}"
    return expression.request(UpdateExpression=update, ConditionExpression=condition)


def first_claim(key: JobKey, taken: Attribute, created: Attribute) -> Attributes:
    """Return the item that `claim` makes of a job that does not exist."""
    return {**rows.job_key(key), **created, **taken, "attempt": number(1)}


def absent() -> dict[str, Any]:
    """Return the condition that no item is there."""
    expression = Expression()
    condition = f"attribute_not_exists({expression.name(table.PARTITION_KEY)})"
    return expression.request(ConditionExpression=condition)


def put_if_absent(item: Attributes) -> dict[str, dict[str, Any]]:
    """Return a transaction's write that puts an item where none is."""
    return {"Put": {"Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD", **absent()}}


def completion(
    place: str, lease: Lease, result: ScoreResult, body: Value, *, now: float, expiry: Attribute
) -> list[dict[str, dict[str, Any]]]:
    """Return the transaction's writes that end the job in a partition under its fence and store its result."""
    expression = Expression()
    ended = {
        **rows.state(JobStatus.COMPLETED, now),
        "result_id": text(result.id),
        "completed_at": number(now),
        **expiry,
    }
    removed = expression.remove("lease_expires_at", table.OPEN_HASH)
    return [
        {
            "Update": {
                "Key": rows.job_key(place),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **expression.request(
                    UpdateExpression=f"{expression.set(ended)} {removed}",
                    ConditionExpression=fence(expression, lease),
                ),
            }
        },
        {"Put": {"Item": {**rows.result_item(result, body), **expiry}}},
    ]


def fence(expression: Expression, lease: Lease) -> str:
    """Return the condition that the account's job is under this lease, expired or not."""
    return " AND ".join(
        (
            expression.equals("lease_token", text(lease.token)),
            expression.equals("status", text(JobStatus.IN_PROGRESS)),
            expression.equals(table.LISTING_HASH, text(lease.key.account)),
        )
    )
