"""The real worker with faults put into it by variables: a slow engine, one that holds its jobs, a wrong clock, …"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from plexus_scoring.model.errors import StoreUnavailable


def slow_engine(seconds: float) -> None:
    from plexus_scoring.engines import mock  # noqa: PLC0415  after the clock is wrong

    real = mock.MockEngine.score

    async def score(self: Any, context: Any) -> Any:
        await asyncio.sleep(seconds)  # clock: work to be struck in; nothing waits for its end
        return await real(self, context)

    mock.MockEngine.score = score  # type: ignore[method-assign]


def holding_engine(folder: Path) -> None:
    """Name each job in a file of the folder, and go on with it when the folder is gone."""
    from plexus_scoring.engines import mock  # noqa: PLC0415  after the clock is wrong

    real = mock.MockEngine.score

    async def score(self: Any, context: Any) -> Any:
        with contextlib.suppress(FileNotFoundError):
            (folder / context.job.id).touch()
            while folder.exists():  # noqa: ASYNC240  a look at a local file
                await asyncio.sleep(0.01)
        return await real(self, context)

    mock.MockEngine.score = score  # type: ignore[method-assign]


def killing_engine(job_id: str) -> None:
    """End the process in the middle of one job."""
    from plexus_scoring.engines import mock  # noqa: PLC0415  after the clock is wrong

    real = mock.MockEngine.score

    async def score(self: Any, context: Any) -> Any:
        if context.job.id == job_id:
            await asyncio.sleep(0.2)  # clock: so that others are at work; nothing waits for it
            os.kill(os.getpid(), signal.SIGKILL)
        return await real(self, context)

    mock.MockEngine.score = score  # type: ignore[method-assign]


def frequent_renewals(count: int) -> None:
    from plexus_scoring.service import lease  # noqa: PLC0415  after the clock is wrong

    lease.RENEWALS_PER_LEASE = count


def refusing_store(share: float) -> None:
    """Half of the refusals come after the write: its answer is lost."""
    from plexus_scoring.stores.sql.jobs import SqlJobStore  # noqa: PLC0415  after the clock is wrong

    for name in ("claim", "renew", "complete", "release", "fail"):
        real = getattr(SqlJobStore, name)

        def refusing(real: Any) -> Any:
            async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
                fate = random.random()
                if fate < share / 2:
                    raise StoreUnavailable("injected: refused")
                answer = await real(self, *args, **kwargs)
                if fate < share:
                    raise StoreUnavailable("injected: the answer was lost")
                return answer

            return call

        setattr(SqlJobStore, name, refusing(real))


def wrong_clock(offset: float) -> None:
    real = time.time
    time.time = lambda: real() + offset


def main() -> None:
    environ = os.environ
    if skew := float(environ.get("CHAOS_CLOCK_OFFSET", "0")):
        wrong_clock(skew)
    if seconds := float(environ.get("CHAOS_ENGINE_SECONDS", "0")):
        slow_engine(seconds)
    if folder := environ.get("CHAOS_ENGINE_HOLDS"):
        holding_engine(Path(folder))
    if job_id := environ.get("CHAOS_ENGINE_KILLS"):
        killing_engine(job_id)
    if count := int(environ.get("CHAOS_RENEWALS_PER_LEASE", "0")):
        frequent_renewals(count)
    if share := float(environ.get("CHAOS_STORE_REFUSES", "0")):
        refusing_store(share)
    from plexus_scoring.cli import main as run  # noqa: PLC0415  after the clock is wrong

    sys.argv[0] = "plexus-scoring"
    run()


if __name__ == "__main__":
    main()
