import asyncio
import threading
from pathlib import Path

import pytest

from plexus_scoring.local import environment
from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.lambda_runtime import LambdaRuntime
from tests.support.aws import embedded_aws
from tests.support.clock import HANG_SECONDS

__all__ = ["embedded_aws"]

FUNCTIONS = Path(__file__).parent / "functions"


class Log:
    """What functions wrote, and a signal for each new piece."""

    def __init__(self):
        self.text = ""
        self._changed = asyncio.Condition()
        self._tasks = set()

    def __call__(self, chunk):
        self.text += chunk.decode()
        task = asyncio.ensure_future(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self):
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, text, times=1):
        async with self._changed:
            await self._changed.wait_for(lambda: self.text.count(text) >= times)


class TimeUp:
    """The runtime's time limits: they come while this is set, from whatever thread, and only then."""

    def __init__(self):
        self._event = threading.Event()
        self.set, self.clear = self._event.set, self._event.clear

    async def first_of(self, _timeout, *waited):
        due = asyncio.create_task(self._due())
        await asyncio.wait({*waited, due}, return_when=asyncio.FIRST_COMPLETED)
        due.cancel()

    async def _due(self):
        while not self._event.is_set():
            await asyncio.sleep(0.01)


@pytest.fixture
def time_up(monkeypatch):
    time_up = TimeUp()
    monkeypatch.setattr(environment, "_first_of", time_up.first_of)
    return time_up


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def make_function():
    def make(handler="probe.act", **settings):
        settings = {"name": "probe", "timeout": HANG_SECONDS, "task_root": FUNCTIONS} | settings
        return LocalFunction(handler=handler, **settings)

    return make


@pytest.fixture
async def runtime(make_function, log):
    async with LambdaRuntime(make_function(), log) as started:
        yield started
