"""Acknowledgements of one turn of the loop, sent together: one frame for a run of messages."""

from __future__ import annotations

import asyncio
import logging

from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError

log = logging.getLogger(__name__)


class _Tags:
    """The delivery tags of one channel. They count up from 1, and one consumer reads the channel."""

    __slots__ = ("done", "lowest", "pending")

    def __init__(self) -> None:
        self.lowest = 1  # every tag below is settled and sent
        self.done: set[int] = set()  # settled, sent, and above `lowest`
        self.pending: set[int] = set()  # settled, not sent

    def take(self) -> tuple[int | None, list[int]]:
        """Return the end of the run that starts at `lowest`, and the other tags to be sent singly.

        The end is a tag that the broker still waits for: it refuses a run that ends in one that it does not.
        """
        end: int | None = None
        while self.lowest in self.pending or self.lowest in self.done:
            if self.lowest in self.pending:
                end = self.lowest
                self.pending.remove(self.lowest)
            else:
                self.done.remove(self.lowest)
            self.lowest += 1
        single = sorted(self.pending)
        self.done |= self.pending
        self.pending.clear()
        return end, single


class Acks:
    """Gathers acknowledgements and sends them after the tasks that are ready now have run."""

    def __init__(self) -> None:
        """Start with none."""
        self._tags: dict[AbstractChannel, _Tags] = {}
        self._scheduled = False
        self._sending: dict[AbstractChannel, asyncio.Task[None]] = {}

    def add(self, channel: AbstractChannel, tag: int) -> None:
        """Acknowledge `tag` of `channel` soon."""
        tags = self._tags.get(channel)
        if tags is None:
            for old in [old for old in self._tags if old.is_closed]:
                del self._tags[old]  # its messages are the broker's again
            tags = self._tags[channel] = _Tags()
        tags.pending.add(tag)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def forget(self, channel: AbstractChannel, tag: int) -> None:
        """Count a tag as settled that was settled in another way."""
        self._tags.setdefault(channel, _Tags()).done.add(tag)

    def flush(self) -> None:
        """Send what is pending. One task a channel: frames must not overtake each other.

        An acknowledgement of a run that overtook a single one within it would make the single one a second
        acknowledgement of the same message, for which the broker closes the channel.
        """
        self._scheduled = False
        for channel, tags in self._tags.items():
            if tags.pending and channel not in self._sending:
                task = asyncio.get_running_loop().create_task(self._send(channel, tags))
                self._sending[channel] = task

    async def drain(self) -> None:
        """Send what is pending and wait until it is on its way."""
        self.flush()
        await asyncio.gather(*self._sending.values())

    async def _send(self, channel: AbstractChannel, tags: _Tags) -> None:
        try:
            while tags.pending:
                end, single = tags.take()
                if end is not None:
                    await channel.basic_ack(end, multiple=True, wait=False)
                for tag in single:
                    await channel.basic_ack(tag, wait=False)
        except (AMQPError, OSError, RuntimeError) as error:
            # Unacknowledged messages are delivered again, and the jobs' states answer them.
            log.info("acknowledgements lost with their channel: %s", error)
        finally:
            del self._sending[channel]
