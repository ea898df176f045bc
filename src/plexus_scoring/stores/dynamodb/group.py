"""Group commit: writes of several jobs that wait at the same moment share one transaction.

Whoever comes first starts at once, alone; whoever comes while a write is under way waits for its end and shares the
next. A transaction is all or nothing, but says which of its conditions failed: those callers go alone and learn why,
the others are written without them. So each caller's writes are decided by their own conditions, as if it were alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.job import JobKey
from plexus_scoring.stores.dynamodb.calls import ConditionRefused, Conflict, Table, Throttled

Write = Mapping[str, Mapping[str, Any]]

# A transaction ends at 100 writes and 4 MB; ten results (256 KiB each) and their jobs' rows stay below.
MAX_GROUP: Final = 10
# So much longer than a write takes that only one that hangs is overtaken.
LONGEST_WAIT: Final = 0.1


@dataclass(eq=False)
class _Member:
    """One caller's writes."""

    job: JobKey
    writes: Sequence[Write]
    alone: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]

    def give(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def refuse(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class GroupCommit:
    """Writes to one table, shared where several are waiting. Belongs to one event loop.

    Args:
        table: The table.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting: list[_Member] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(
        self, job: JobKey, writes: Sequence[Write], alone: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Store the writes of one job, with others' or alone.

        Args:
            job: The job; two calls for one job never share a transaction, which may name an item only once.
            writes: Entries of TransactWriteItems, without the table's name.
            alone: Does the same by itself, and tells of a refusal. Asked at most once: where nobody else is waiting,
                or where the shared transaction did not take these writes.

        Returns:
            None if the writes were stored with others', else what `alone` returned.

        Raises:
            StoreUnavailable: As for a single write; and whatever `alone` raises.
        """
        loop = asyncio.get_running_loop()
        member = _Member(job, writes, alone, loop.create_future())
        self._waiting.append(member)
        if not self._running or len(self._waiting) >= MAX_GROUP:
            self._start()
        else:
            loop.call_later(LONGEST_WAIT, self._overtake, member)
        return await member.answer

    def _overtake(self, member: _Member) -> None:
        """Start although a write is under way: it takes suspiciously long."""
        if member in self._waiting:
            self._start()

    def _start(self) -> None:
        group: list[_Member] = []
        rest: list[_Member] = []
        for member in self._waiting:
            if member.answer.done():
                continue  # its caller was cancelled before anything was sent
            full = len(group) >= MAX_GROUP or any(each.job == member.job for each in group)
            (rest if full else group).append(member)
        self._waiting = rest
        if group:
            task = asyncio.get_running_loop().create_task(self._commit(group))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting and not self._running and not task.cancelled():
            self._start()

    async def _commit(self, group: list[_Member]) -> None:
        try:
            left = await self._together(group)
            await asyncio.gather(*map(_by_itself, left))
        finally:
            for member in group:
                member.answer.cancel()  # of those without an answer: the loop is being closed

    async def _together(self, group: list[_Member]) -> list[_Member]:
        """Write the members' writes in one transaction; return who has to go alone."""
        refused: list[_Member] = []
        while len(group) > 1:
            try:
                await self._table.transact(
                    [write for member in group for write in member.writes], patience=None
                )
            except ConditionRefused as error:
                owners = [member for member in group for _ in member.writes]
                out = [owners[position] for position in error.positions]
                refused += [member for member in group if member in out]
                group = [member for member in group if member not in out]
            except (Conflict, Throttled, InvalidRequest):
                break  # one of them is at fault, touched from elsewhere or throttled: the others need not wait for it
            except Exception as error:  # noqa: BLE001  each caller gets it, and says what it means
                for member in group:
                    member.refuse(error)
                return refused
            else:
                for member in group:
                    member.give(None)
                return refused
        return refused + group


async def _by_itself(member: _Member) -> None:
    try:
        member.give(await member.alone())
    except Exception as error:  # noqa: BLE001  its caller gets it
        member.refuse(error)
