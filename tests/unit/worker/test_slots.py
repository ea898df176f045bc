import asyncio

import pytest

from plexus_scoring.worker import slots as module
from plexus_scoring.worker.slots import NoSlot, Slots
from tests.support.clock import HANG_SECONDS


class Engine:
    """Scores as long as it is told to."""

    def __init__(self):
        self.go_on = asyncio.Event()
        self.running = 0
        self.most = 0

    async def score(self, context):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return context

    def supports(self):
        return "all"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(module, "SLOT_WAIT_SECONDS", HANG_SECONDS)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def test_no_more_scores_run_than_there_are_slots():
    engine = Engine()
    slotted = Slots(2).watch(engine)
    scores = [asyncio.create_task(slotted.score(n)) for n in range(5)]
    await until(lambda: engine.running == 2)
    engine.go_on.set()
    assert await asyncio.gather(*scores) == [0, 1, 2, 3, 4]
    assert engine.most == 2
    assert slotted.supports() == "all"


async def test_none_are_taken_ahead_before_a_job_has_ended():
    assert Slots(100).ahead() == 0


@pytest.mark.parametrize(
    ("outside", "ahead"), [(0.0, 0), (0.2, 30), (1.0, 150), (2.0, 300), (30.0, 300)]
)
async def test_half_as_many_again_are_taken_ahead_as_are_outside_a_full_engine(
    monkeypatch, outside, ahead
):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    class Second:
        async def score(self, context):
            now[0] += 1.0

    slots = Slots(100)
    for _ in range(3):
        await slots.score(Second(), None)
        slots.job_took(1.0 + outside)
    assert slots.ahead() == ahead


async def test_a_job_that_gets_no_slot_goes_back_uncounted_and_the_slot_is_not_lost(monkeypatch):
    monkeypatch.setattr(module, "SLOT_WAIT_SECONDS", 0.0)
    engine, slots = Engine(), Slots(1)
    first = asyncio.create_task(slots.score(engine, "first"))
    await until(lambda: engine.running == 1)
    with pytest.raises(NoSlot):
        await slots.score(engine, "second")
    engine.go_on.set()
    assert await first == "first"
    assert await slots.score(engine, "third") == "third"


async def test_a_cancelled_score_frees_its_slot():
    engine, slots = Engine(), Slots(1)
    first = asyncio.create_task(slots.score(engine, "first"))
    await until(lambda: engine.running == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    engine.go_on.set()
    assert await slots.score(engine, "second") == "second"
