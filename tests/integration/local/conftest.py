import asyncio
from pathlib import Path

import pytest

from plexus_scoring.local.function import LocalFunction
from plexus_scoring.local.lambda_runtime import LambdaRuntime
from tests.support.aws import embedded_aws

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


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def make_function():
    def make(handler="probe.act", **settings):
        settings = {"name": "probe", "timeout": 20.0, "task_root": FUNCTIONS} | settings
        return LocalFunction(handler=handler, **settings)

    return make


@pytest.fixture
async def runtime(make_function, log):
    async with LambdaRuntime(make_function(), log) as started:
        yield started
