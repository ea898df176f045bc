"""A bounded number of host processes of one kind, started when they are needed, replaced when they have ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from plexus_scoring.engines.plexus.isolation import HostSpec
from plexus_scoring.engines.plexus.process import HostProcess
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, shorten

log = logging.getLogger(__name__)

LOAD_SECONDS = 300.0


class HostPool:
    """Lends host processes to jobs. A process serves many jobs at once, so that one is enough for most.

    Args:
        spec: How a process is started.
        size: Processes at most. A further one is started while every other has a job.
    """

    def __init__(self, spec: HostSpec, *, size: int = 1) -> None:
        self.spec = spec
        self._size = size
        self._hosts: list[HostProcess] = []
        self._starting = asyncio.Lock()

    async def host(self) -> HostProcess:
        """Return the process with the fewest jobs; start one if there is none. Raises ConfigurationError."""
        found = self._least_busy()
        if found is None:
            async with self._starting:
                found = self._least_busy()  # another job may have started one meanwhile
                if found is None:
                    found = await HostProcess.start(self.spec)
                    self._hosts.append(found)
                    boundary = "in bubblewrap" if found.isolated else "without bubblewrap"
                    log.info("the %s runs as process %d, %s", self.spec.name, found.pid, boundary)
        return found

    async def ready(self, what: str, *, deadline: float, **options: Any) -> HostProcess:
        """Return a process that has imported what `load` with these options imports.

        Raises:
            ConfigurationError: it cannot be started, or the import fails.
            EngineUnavailable: the import goes on beyond the deadline (seconds since the epoch), or the process ended.
        """
        try:
            async with asyncio.timeout(deadline - time.time()):
                host = await self.host()
                task = host.loads.get(what)
                if task is None:
                    task = host.loads[what] = asyncio.create_task(
                        self._load(host, what, options), name=f"{self.spec.name}: import {what}"
                    )
                    task.add_done_callback(lambda done: _drop_failed(host, what, done))
                # Shielded: one job's end must not end the import that others wait for.
                await asyncio.shield(task)
        except TimeoutError:
            raise EngineUnavailable(
                f"the {self.spec.name} is still importing {what}; it goes on, and the next attempt finds it there"
            ) from None
        return host

    async def aclose(self) -> None:
        """End the processes. Safe to call twice."""
        hosts, self._hosts = self._hosts, []
        await asyncio.gather(*(host.aclose() for host in hosts))

    def _least_busy(self) -> HostProcess | None:
        """Return the process for the next job; None where one is to be started."""
        self._hosts = [host for host in self._hosts if host.alive]
        found = min(self._hosts, key=lambda host: host.busy, default=None)
        if found is not None and found.busy and len(self._hosts) < self._size:
            return None
        return found

    async def _load(self, host: HostProcess, what: str, options: Mapping[str, Any]) -> None:
        log.info("the %s imports %s", self.spec.name, what)
        answer = await host.ask({"op": "load", **options}, within=LOAD_SECONDS)
        if "error" in answer:
            error = answer["error"]
            raise ConfigurationError(
                f"{what} cannot be imported by {self.spec.python}: {error['kind']}:"
                f" {shorten(str(error['message']), 300)}; install what it requires"
            )


def _drop_failed(host: HostProcess, what: str, task: asyncio.Task[None]) -> None:
    if task.cancelled() or task.exception() is not None:
        host.loads.pop(what, None)
