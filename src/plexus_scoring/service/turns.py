"""Lets jobs run beside each other, or one alone, in a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """A lock that many share, or one has alone. Who waits to be alone goes before who comes to share."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sharing = 0
        self._wanting = 0
        self._alone = False

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Run beside others; without waiting where nobody is alone, or waits to be."""
        if self._alone or self._wanting:
            async with self._changed:
                await self._changed.wait_for(lambda: not (self._alone or self._wanting))
                self._sharing += 1
        else:
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            if self._wanting and not self._sharing:
                await self._tell()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run while nobody else does."""
        self._wanting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not (self._alone or self._sharing))
                self._alone = True
        finally:
            self._wanting -= 1
            if not self._alone:
                await self._tell()  # it was cancelled: others need not wait for it
        try:
            yield
        finally:
            self._alone = False
            await self._tell()

    async def _tell(self) -> None:
        # Shielded: whoever is cancelled on leaving must not leave the others waiting.
        await asyncio.shield(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
