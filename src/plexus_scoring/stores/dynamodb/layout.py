"""Whether rows of the first layout may be left in the table: those of other accounts than "default" under an id alone.

The upgrade (`upgrade`) moves them and leaves a mark when none is left. Until then whatever is not found under account
and id is looked for under the id, and a row found there is worked on where it lies, if it is the account's own.
"""

from __future__ import annotations

from typing import Final

from plexus_scoring.model.job import DEFAULT_ACCOUNT, JobKey
from plexus_scoring.ports import Clock
from plexus_scoring.stores.dynamodb import table
from plexus_scoring.stores.dynamodb.calls import Attributes, Table

LOOK_AGAIN_SECONDS: Final = 300.0


class Layout:
    """The table's mark, read when the first job of another account than "default" comes."""

    def __init__(self, calls: Table, clock: Clock) -> None:
        self._table = calls
        self._clock = clock
        self._current = False
        self._look_again = 0.0

    async def may_be_old(self, key: JobKey) -> bool:
        """Whether a job or result may lie in its old partition; in "default" the old is the new one."""
        if key.account == DEFAULT_ACCOUNT or self._current:
            return False
        now = self._clock.now()
        if now >= self._look_again:
            self._look_again = now + LOOK_AGAIN_SECONDS
            self._current = _is_current(await self._table.get(table.MARK))
        return not self._current


def _is_current(mark: Attributes | None) -> bool:
    return mark is not None and float(mark[table.MARK_VERSION]["N"]) >= table.LAYOUT
