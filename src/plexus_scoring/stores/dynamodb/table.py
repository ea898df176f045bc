"""The one table: its keys, indexes and time-to-live (``docs/adr/0002-one-dynamodb-table.md``).

`table_definition` is the layout's only source: tests and the embedded AWS create the table from it, and the
infrastructure's table must equal it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PARTITION_KEY: Final = "pk"
SORT_KEY: Final = "sk"
TTL_ATTRIBUTE: Final = "expires_at"

# Jobs of an account by status and time of the last change of state. The status is part of the sort key, because
# a claim must be one write that does not know the account.
LISTING_INDEX: Final = "jobs-by-account"
LISTING_HASH: Final = "account"
LISTING_RANGE: Final = "status_time"

# Sparse: jobs that have not ended, by time of creation, over a few partitions so that no one of them is hot.
OPEN_INDEX: Final = "open-jobs"
OPEN_HASH: Final = "open_shard"
OPEN_RANGE: Final = "created_at"
OPEN_SHARDS: Final = 8
OPEN_PROJECTION: Final = ("account", "status", "not_before", "lease_expires_at", "updated_at")

# Sparse: results that may be reused.
MEMO_INDEX: Final = "results-by-content"
MEMO_HASH: Final = "memo_key"
MEMO_RANGE: Final = "created_at"


# Which layout every row has; see ``layout.py``.
MARK: Final = {PARTITION_KEY: {"S": "LAYOUT"}, SORT_KEY: {"S": "LAYOUT"}}
MARK_VERSION: Final = "version"
LAYOUT: Final = 2


def table_definition(name: str) -> dict[str, Any]:
    """Return the arguments of CreateTable."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": PARTITION_KEY, "AttributeType": "S"},
            {"AttributeName": SORT_KEY, "AttributeType": "S"},
            {"AttributeName": LISTING_HASH, "AttributeType": "S"},
            {"AttributeName": LISTING_RANGE, "AttributeType": "S"},
            {"AttributeName": OPEN_HASH, "AttributeType": "S"},
            {"AttributeName": OPEN_RANGE, "AttributeType": "N"},
            {"AttributeName": MEMO_HASH, "AttributeType": "S"},
        ],
        "KeySchema": _key(PARTITION_KEY, SORT_KEY),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": LISTING_INDEX,
                "KeySchema": _key(LISTING_HASH, LISTING_RANGE),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
            {
                "IndexName": OPEN_INDEX,
                "KeySchema": _key(OPEN_HASH, OPEN_RANGE),
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(OPEN_PROJECTION),
                },
            },
            {
                "IndexName": MEMO_INDEX,
                "KeySchema": _key(MEMO_HASH, MEMO_RANGE),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
    }


def create_table(client: DynamoDBClient, name: str) -> None:
    """Create the table and wait for it; an existing one is left as it is. For tests and local use."""
    try:
        client.create_table(**table_definition(name))
    except client.exceptions.ResourceInUseException:
        return
    client.get_waiter("table_exists").wait(
        TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    client.update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
    )
    client.put_item(TableName=name, Item=current_mark())


def current_mark() -> dict[str, Any]:
    """Return the item that says that no row of an earlier layout is left."""
    return {**MARK, MARK_VERSION: {"N": str(LAYOUT)}}


def _key(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
