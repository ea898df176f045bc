import asyncio
import contextlib
import dataclasses
import signal

import pytest

from plexus_scoring.model.errors import ScoringError, StoreUnavailable
from plexus_scoring.settings import Settings
from plexus_scoring.worker import process
from plexus_scoring.worker.process import Worker
from tests.support.memory_transport import memory_transport


@pytest.fixture
def settings(tmp_path):
    return Settings.from_environment(
        {
            "PLEXUS_DATABASE_URL": f"sqlite:///{tmp_path}/jobs.db",
            "PLEXUS_HEALTH_HOST": "127.0.0.1",
            "PLEXUS_HEALTH_PORT": "0",
        }
    )


async def test_signals_are_handled_until_everything_is_closed(settings):
    """A second SIGTERM while connections close would end the process with another code than 0."""
    transport = memory_transport()
    handlers = []

    async def close():
        handlers.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))

    with contextlib.suppress(ScoringError):  # the database is empty
        worker = Worker(settings, dataclasses.replace(transport, close=close))
        worker.stop()
        await worker.run()
    assert len(handlers) == 2
    assert not {signal.SIG_DFL, signal.default_int_handler} & set(handlers)


async def test_a_check_that_fails_in_an_unforeseen_way_is_a_problem_and_ends_no_probe(settings):
    worker = Worker(settings, memory_transport())

    async def broken():
        raise ValueError("unforeseen")

    async def well():
        pass

    await worker._check("broker", broken())
    assert worker.health.ready()[1]["problems"]["broker"] == "ValueError"
    await worker._check("broker", well())
    assert "broker" not in worker.health.ready()[1]["problems"]


async def test_the_loops_heartbeat_is_there_while_the_store_is_slow_to_open(settings, monkeypatch):
    worker = Worker(settings, memory_transport())
    beaten = asyncio.Event()
    monkeypatch.setattr(worker.health, "beat", beaten.set)

    @contextlib.asynccontextmanager
    async def slow(*_, **__):
        await beaten.wait()
        raise StoreUnavailable("and then it does not open")
        yield

    monkeypatch.setattr(process, "open_application", slow)
    with pytest.raises(StoreUnavailable):
        await worker.run()
