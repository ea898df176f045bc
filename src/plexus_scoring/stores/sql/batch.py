"""Group commit: operations that wait at the same moment share one transaction.

Whoever comes first starts at once, alone; whoever comes while a transaction runs waits for its end and shares
the next. Inside, the rows are locked (in the order of their keys, so that two batches cannot deadlock), each
operation is decided on its own row by the pure state machine, and what changed is written back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from plexus_scoring.model.errors import ScoringError, StoreUnavailable
from plexus_scoring.model.job import JobKey, ScoringJob
from plexus_scoring.stores.sql import bulk, rows
from plexus_scoring.stores.sql.database import Database

MAX_BATCH = 200


@dataclass
class Change:
    """What an operation decided: what its caller gets, and what becomes of the row.

    `job` None leaves the row as it is; `body` makes it a new row; `result` is a row to be added.
    """

    answer: Any
    job: ScoringJob | None = None
    body: str | None = None
    result: dict[str, Any] | None = None


Decide = Callable[[ScoringJob | None], Change]


@dataclass(eq=False)
class Operation:
    """One call. `decide` must have no effect: it may be asked again.

    `abandoned` gets the answer if nobody waits for it any more.
    """

    key: JobKey
    decide: Decide
    with_body: bool
    abandoned: Callable[[Any], None] | None
    answer: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """Runs operations in shared transactions, as many at once as the database has writers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Operation] = []
        self._free = database.writers
        self._running: set[asyncio.Task[None]] = set()

    async def run(
        self,
        key: JobKey,
        decide: Decide,
        *,
        with_body: bool = False,
        abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Run one operation and return its answer, or raise its error."""
        operation = Operation(key, decide, with_body, abandoned)
        self._waiting.append(operation)
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await operation.answer

    async def aclose(self) -> None:
        """Wait for the transactions under way."""
        await asyncio.gather(*self._running)

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = [each for each in self._waiting[:MAX_BATCH] if not each.answer.done()]
                del self._waiting[:MAX_BATCH]
                if batch:
                    await self._commit(batch)
        finally:
            self._free += 1  # in the same step as the last look at what waits

    async def _commit(self, batch: list[Operation]) -> None:
        answers: list[Any]
        try:
            answers = await self._database.write(lambda connection: execute(connection, batch))
        except StoreUnavailable as error:
            answers = [error] * len(batch)
        except ScoringError as error:
            if len(batch) > 1:  # the data of one of them is refused: find it
                for operation in batch:
                    await self._commit([operation])
                return
            answers = [error]
        except Exception as error:  # noqa: BLE001  each caller gets it; the loop must go on for the others
            answers = [error] * len(batch)
        for operation, answer in zip(batch, answers, strict=True):
            self._deliver(operation, answer)

    def _deliver(self, operation: Operation, answer: Any) -> None:
        if operation.answer.done():
            if operation.abandoned is not None:
                operation.abandoned(answer)
        elif answer is _AGAIN:
            self._waiting.append(operation)
        elif isinstance(answer, Exception):
            operation.answer.set_exception(answer)
        else:
            operation.answer.set_result(answer)


# The row was created by another process meanwhile: the operation is decided again on what is there.
_AGAIN = object()


def execute(connection: Connection, batch: list[Operation]) -> list[Any]:
    """Decide all operations on their locked rows, write what changed, return an answer or error for each."""
    keys = {operation.key for operation in batch}
    found = bulk.lock(connection, keys, {each.key for each in batch if each.with_body})
    states: dict[JobKey, ScoringJob] = {}
    unreadable: dict[
        JobKey, ScoringError
    ] = {}  # a newer version's rows are no matter of the others
    for row in found:
        if (key := rows.key_of(row)) not in keys:
            continue
        try:
            states[key] = rows.job_of(row)
        except ScoringError as error:
            unreadable[key] = error
    bodies: dict[JobKey, str] = {}
    changed: set[JobKey] = set()
    results: list[dict[str, Any]] = []
    answers: list[Any] = []
    for operation in batch:
        if operation.key in unreadable:
            answers.append(unreadable[operation.key])
            continue
        try:
            change = operation.decide(states.get(operation.key))
        except ScoringError as refusal:
            answers.append(refusal)
            continue
        answers.append(change.answer)
        if change.job is not None:
            states[operation.key] = change.job
            changed.add(operation.key)
        if change.body is not None:
            bodies[operation.key] = change.body
        if change.result is not None:
            results.append(change.result)
    new = [rows.new_row(states[key], bodies[key]) for key in sorted(bodies)]
    lost = bodies.keys() - bulk.insert_jobs(connection, new)
    bulk.update_jobs(
        connection,
        [
            {**rows.key_columns(key), **rows.state_of(states[key])}
            for key in sorted(changed - bodies.keys())
        ],
    )
    bulk.insert_results(connection, results)
    return [
        _AGAIN if operation.key in lost else answer
        for operation, answer in zip(batch, answers, strict=True)
    ]
