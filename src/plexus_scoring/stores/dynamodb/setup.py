"""Whether a table is there and laid out as this version needs it."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from plexus_scoring.model.errors import ConfigurationError, StoreUnavailable, shorten
from plexus_scoring.stores.dynamodb.calls import Table
from plexus_scoring.stores.dynamodb.table import table_definition

_SETUP_ERRORS = {
    "ResourceNotFoundException": "it does not exist in this region and account",
    "AccessDeniedException": "access denied",
    "UnrecognizedClientException": "the credentials are not valid",
    "InvalidSignatureException": "the credentials are not valid",
}


async def check_table(table: Table) -> None:
    """Raise ConfigurationError or StoreUnavailable unless the table can be worked with."""
    try:
        description: Any = (await table.describe())["Table"]
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in _SETUP_ERRORS:
            raise ConfigurationError(
                f"DynamoDB table {table.name}: {_SETUP_ERRORS[code]} ({code}); "
                "check PLEXUS_JOBS_TABLE_NAME, the region and the role"
            ) from error
        raise StoreUnavailable(f"DynamoDB table {table.name}: {code}") from error
    except (NoCredentialsError, NoRegionError) as error:
        raise ConfigurationError(f"DynamoDB table {table.name}: {error}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"DynamoDB table {table.name}: {shorten(str(error), 300)}"
        ) from error
    if description["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        raise StoreUnavailable(f"DynamoDB table {table.name} is {description['TableStatus']}")
    wanted = table_definition(table.name)
    there = {index["IndexName"] for index in description.get("GlobalSecondaryIndexes", [])}
    missing = [
        i["IndexName"] for i in wanted["GlobalSecondaryIndexes"] if i["IndexName"] not in there
    ]
    if missing or description["KeySchema"] != wanted["KeySchema"]:
        raise ConfigurationError(
            f"DynamoDB table {table.name} lacks the key pk/sk or indexes: {', '.join(missing)}; "
            "deploy the infrastructure of this version"
        )
