"""Whether enough jobs are taken ahead to keep an engine's slots in use, in simulated time: idle time is skipped."""

import asyncio
import selectors
from types import SimpleNamespace

import pytest

from plexus_scoring.model.disposition import Ack
from plexus_scoring.transports import consumer
from plexus_scoring.transports.memory import MemoryQueue, MemorySource
from plexus_scoring.worker import slots as module
from plexus_scoring.worker.slots import Slots


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while something is ready, and jumps to the next timer while nothing is."""

    def __init__(self):
        self.now = 0.0
        super().__init__(Skipping(self))

    def time(self):
        return self.now


class Skipping(selectors.DefaultSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        if timeout:
            self._loop.now += timeout
        return super().select(0)


class SharedTransactions:
    """Two at a time; whoever comes meanwhile shares the next one, as in `stores/sql/batch.py`."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._waiting = []
        self._free = 2
        self._running = set()

    async def __call__(self):
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._free:
            self._free -= 1
            self._running.add(asyncio.create_task(self._work()))
        await done

    async def _work(self):
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.sleep(self._seconds)
            for done in batch:
                done.set_result(None)
        self._free += 1


class Engine:
    """Takes a time, and adds up how long how many of it ran."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.scored = 0
        self.running = 0
        self.area = 0.0  # slots in use by seconds
        self._since = 0.0

    def _tick(self, change):
        now = asyncio.get_running_loop().time()
        self.area += self.running * (now - self._since)
        self._since = now
        self.running += change

    async def score(self, context):
        self._tick(+1)
        await asyncio.sleep(self.seconds)  # clock: simulated
        self._tick(-1)
        self.scored += 1


async def share_in_use(engine, transaction, count):
    queue, slots = MemoryQueue(), Slots(count)
    slotted = slots.watch(engine)
    store = SharedTransactions(transaction)

    async def decide(envelope, deadline):
        await store()  # claim
        await slotted.score(None)
        await store()  # complete
        await asyncio.sleep(0.004)  # respond; clock: simulated
        return Ack()

    work = consumer.Consumer(
        MemorySource(queue),
        decide,
        concurrency=count,
        drain_seconds=60,
        max_hold_seconds=300,
        max_deliveries=5,
        pace=slots,
        clock=asyncio.get_running_loop().time,
    )
    for n in range(40 * count):
        await queue.send("{}", request_id=str(n))
    running = asyncio.create_task(work.run())
    while engine.scored < 10 * count:  # until the averages are settled
        await asyncio.sleep(0.01)
    area, began = engine.area, asyncio.get_running_loop().time()
    while engine.scored < 35 * count:
        await asyncio.sleep(0.01)
    seconds = asyncio.get_running_loop().time() - began
    share = (engine.area - area) / seconds / count
    work.stop()
    await running
    return share


@pytest.mark.parametrize(
    ("score", "transaction", "count"),
    [(0.1, 0.006, 100), (0.1, 0.02, 100), (0.1, 0.06, 100), (2.0, 0.02, 500)],
)
def test_the_slots_stay_in_use(monkeypatch, score, transaction, count):
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        clock = SimpleNamespace(monotonic=loop.time, time=loop.time)
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(consumer, "time", clock)
        share = runner.run(share_in_use(Engine(score), transaction, count))
    assert share >= 0.985
