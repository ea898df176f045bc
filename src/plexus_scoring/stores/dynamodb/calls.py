"""Calls to one DynamoDB table from an event loop, and what its errors mean."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from plexus_scoring.model.errors import InvalidRequest, StoreUnavailable, shorten
from plexus_scoring.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Attributes = dict[str, Any]

_CONFLICT = "TransactionConflict"
_CONFLICT_ATTEMPTS = 6
_CONFLICT_DELAY = 0.02
_LONGEST_DELAY = 2.0
_THROTTLING = frozenset(
    (
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
    )
)
# The batch operations' own limits.
_KEYS_PER_BATCH = 100


class ConditionRefused(Exception):
    """A condition did not hold.

    Attributes:
        item: What is stored, None if nothing is; of a transaction, of its first refused write.
        positions: Which of a transaction's writes were refused.
    """

    def __init__(self, item: Attributes | None, positions: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.item = item
        self.positions = positions


class Conflict(StoreUnavailable):
    """Another transaction was on the item at this moment; nothing was decided."""


class Throttled(StoreUnavailable):
    """A key, an index or the table has no capacity left at this moment; nothing was written."""


class Table:
    """One table behind a client and the threads that may call it."""

    def __init__(
        self, client: DynamoDBClient, executor: Executor, name: str, *, clock: Clock
    ) -> None:
        self._client = client
        self._executor = executor
        self._clock = clock
        self.name = name

    async def put(self, item: Attributes, *, condition: Mapping[str, Any] | None = None) -> None:
        """Put an item. Raises ConditionRefused."""
        conditional: dict[str, Any] = {}
        if condition:
            conditional = {**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        await self._call(self._client.put_item, TableName=self.name, Item=item, **conditional)

    async def delete(self, key: Attributes, *, condition: Mapping[str, Any] | None = None) -> None:
        """Delete an item. Raises ConditionRefused."""
        await self._call(
            self._client.delete_item, TableName=self.name, Key=key, **(condition or {})
        )

    async def scan(self, scan: Mapping[str, Any]) -> AsyncIterator[Attributes]:
        """Yield the whole table's items that a filter lets through, as they are now."""
        start: dict[str, Any] = {}
        while True:
            answer = await self._call(
                self._client.scan, TableName=self.name, ConsistentRead=True, **scan, **start
            )
            for item in answer["Items"]:
                yield item
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def update(self, key: Attributes, update: Mapping[str, Any]) -> Attributes:
        """Update an item under a condition and return what it became. Raises ConditionRefused."""
        answer = await self._call(
            self._client.update_item,
            TableName=self.name,
            Key=key,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **update,
        )
        attributes: Attributes = answer["Attributes"]
        return attributes

    async def get(self, key: Attributes) -> Attributes | None:
        """Read an item as it is now."""
        answer = await self._call(
            self._client.get_item, TableName=self.name, Key=key, ConsistentRead=True
        )
        item: Attributes | None = answer.get("Item")
        return item

    async def get_many(self, keys: Sequence[Attributes]) -> list[Attributes]:
        """Read items as they are now, in no order; those that do not exist are left out."""
        found: list[Attributes] = []
        for start in range(0, len(keys), _KEYS_PER_BATCH):
            wanted: Any = {
                self.name: {"Keys": keys[start : start + _KEYS_PER_BATCH], "ConsistentRead": True}
            }
            while wanted:
                answer = await self._call(self._client.batch_get_item, RequestItems=wanted)
                found += answer["Responses"].get(self.name, [])
                wanted = answer.get("UnprocessedKeys")
                if wanted:
                    await self._pause(1)
        return found

    async def query(self, query: Mapping[str, Any]) -> tuple[list[Attributes], Attributes | None]:
        """Return one page and the key to go on from."""
        answer = await self._call(self._client.query, TableName=self.name, **query)
        return answer["Items"], answer.get("LastEvaluatedKey")

    async def query_all(self, query: Mapping[str, Any]) -> list[Attributes]:
        """Return all pages."""
        items, start = await self.query(query)
        while start:
            more, start = await self.query({**query, "ExclusiveStartKey": start})
            items += more
        return items

    async def transact(
        self,
        writes: Sequence[Mapping[str, Mapping[str, Any]]],
        *,
        token: str | None = None,
        patience: float | None = 0.0,
    ) -> None:
        """Write all or nothing. Raises ConditionRefused with the refused writes' items.

        Repetitions with the same `token` (at most 36 characters) and content are one transaction for ten minutes;
        without one, those that botocore sends by itself are. botocore repeats no cancelled transaction: what was
        throttled is repeated here for `patience` seconds. With None, Conflict is raised at once as well.
        """
        once: dict[str, Any] = {"ClientRequestToken": token} if token else {}
        await self._call(
            self._client.transact_write_items,
            TransactItems=[
                {operation: {"TableName": self.name, **write[operation]} for operation in write}
                for write in writes
            ],
            **once,
            attempts=1 if patience is None else _CONFLICT_ATTEMPTS,
            patience=patience or 0.0,
        )

    async def describe(self) -> Mapping[str, Any]:
        """Return DescribeTable's answer; its errors come as botocore raises them."""
        return await self._run(partial(self._client.describe_table, TableName=self.name))

    async def _call(
        self,
        function: Callable[..., Any],
        *,
        attempts: int = _CONFLICT_ATTEMPTS,
        patience: float = 0.0,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Call, and wait out the conflict of two transactions that meet on one item, and throttling for a time."""
        end = self._clock.now() + patience
        for attempt in itertools.count(1):
            try:
                return await self._run(partial(function, **arguments))
            except (ClientError, BotoCoreError) as error:
                meaning = translate(error, self.name)
                met = isinstance(meaning, Conflict) and attempt < attempts
                throttled = isinstance(meaning, Throttled) and self._clock.now() < end
                if not (met or throttled):
                    raise meaning from error
            await self._pause(attempt)
        raise AssertionError  # pragma: no cover  a call returns or raises

    async def _run(self, call: Callable[[], Any]) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        answer: Mapping[str, Any] = await loop.run_in_executor(self._executor, call)
        return answer

    async def _pause(self, attempt: int) -> None:
        longest = min(_LONGEST_DELAY, _CONFLICT_DELAY * 2 ** min(attempt, 10))
        await self._clock.sleep(random.uniform(0, longest))  # noqa: S311  jitter


def translate(error: ClientError | BotoCoreError, table: str) -> Exception:
    """Return what a failed call means.

    Only what is wrong with the request itself is InvalidRequest. Throttling, lost connections, expired
    credentials, denied access and a missing table may all pass, so a job must not be failed for them.
    """
    if not isinstance(error, ClientError):
        return StoreUnavailable(f"DynamoDB table {table}: {shorten(str(error), 300)}")
    code, message = _code(error), shorten(error.response["Error"].get("Message", ""), 300)
    if code == "ConditionalCheckFailedException":
        stored: Any = error.response.get("Item")
        return ConditionRefused(stored)
    if _is_conflict(error):
        return Conflict(f"DynamoDB table {table}: {code}: {message}")
    if code == "TransactionCanceledException":
        return _translate_cancelled(error, table)
    if code in {"ValidationException", "SerializationException"}:
        return InvalidRequest(f"DynamoDB table {table} refuses the data: {message}")
    kind = Throttled if code in _THROTTLING else StoreUnavailable
    return kind(f"DynamoDB table {table}: {code}: {message}")


def _translate_cancelled(error: ClientError, table: str) -> Exception:
    reasons = _reasons(error)
    refused = [
        position
        for position, reason in enumerate(reasons)
        if reason.get("Code") == "ConditionalCheckFailed"
    ]
    if refused:
        return ConditionRefused(reasons[refused[0]].get("Item"), refused)
    codes = ", ".join(str(reason.get("Code")) for reason in reasons)
    if any(
        reason.get("Code") in {"ValidationError", "ItemCollectionSizeLimitExceeded"}
        for reason in reasons
    ):
        return InvalidRequest(f"DynamoDB table {table} refuses the transaction: {codes}")
    kind = (
        Throttled
        if any(reason.get("Code") in _THROTTLING for reason in reasons)
        else StoreUnavailable
    )
    return kind(f"DynamoDB table {table}: transaction cancelled: {codes}")


def _is_conflict(error: ClientError) -> bool:
    """Whether another transaction was on the item at this moment: then nothing was decided."""
    if _code(error) in {"TransactionConflictException", "TransactionInProgressException"}:
        return True
    codes = {reason.get("Code") for reason in _reasons(error)}
    return _CONFLICT in codes and "ConditionalCheckFailed" not in codes


def _reasons(error: ClientError) -> list[Mapping[str, Any]]:
    reasons: Any = error.response.get("CancellationReasons", [])
    return list(reasons)


def _code(error: ClientError) -> str:
    return error.response["Error"].get("Code", "")
