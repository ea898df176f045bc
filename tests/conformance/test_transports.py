"""Every transport, on its real server, maps every disposition in the same way."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import ErrorInfo, StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest, ScoringResponse
from plexus_scoring.transports import consumer as consumer_module
from plexus_scoring.transports.base import DeadMessage, Delivery, Envelope, Source
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.transports.requests import RequestHandler
from tests.support.clock import HANG_SECONDS, ManualClock
from tests.support.transport_rigs import Rig, eventually, open_rig

TRANSPORTS = ["memory", "rabbitmq", "redis", "sqs"]
REASON = ErrorInfo(code="scorecard_error", message="line 3: no such class")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GIVE_BACK_SECONDS", HANG_SECONDS)


@pytest.fixture(params=TRANSPORTS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with open_rig(request.param) as rig:
        yield rig


def body_of(envelope: Envelope) -> str:
    return envelope.body if isinstance(envelope.body, str) else envelope.body.decode()


class Script:
    """Answers each message by the first word of its body, and keeps what it saw."""

    def __init__(self, *dispositions: Disposition) -> None:
        self.dispositions = list(dispositions)
        self.seen: list[Envelope] = []

    async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
        self.seen.append(envelope)
        if len(self.dispositions) > 1:
            return self.dispositions.pop(0)
        return self.dispositions[0]

    @property
    def bodies(self) -> list[str]:
        return [body_of(envelope) for envelope in self.seen]


@contextlib.asynccontextmanager
async def consuming(
    rig: Rig,
    decide: Callable[..., object],
    *,
    concurrency: int = 10,
    drain_seconds: float = HANG_SECONDS,
    max_hold_seconds: float = 5 * HANG_SECONDS,
    max_deliveries: int = 20,
    **options: Any,
) -> AsyncIterator[Consumer]:
    consumer = Consumer(
        rig.source(),
        decide,  # type: ignore[arg-type]
        concurrency=concurrency,
        drain_seconds=drain_seconds,
        max_hold_seconds=max_hold_seconds,
        max_deliveries=max_deliveries,
        **options,
    )
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
        consumer.stop()
    finally:
        if not consumer.stopping:
            consumer.stop()
        await running


async def empty(rig: Rig) -> bool:
    stats = await rig.admin.stats()
    return not any((stats.waiting, stats.in_flight, stats.delayed))


async def dead(rig: Rig) -> list[DeadMessage]:
    return [message async for message in rig.admin.dead_letters(100)]


async def test_ack_ends_the_message(rig: Rig) -> None:
    script = Script(Ack())
    async with consuming(rig, script):
        for n in range(25):
            await rig.admin.send(f"{n}", request_id=f"r{n}")
        await eventually(lambda: len(script.seen) == 25)
    assert sorted(map(int, script.bodies)) == list(range(25))
    await eventually(lambda: empty(rig))
    assert await dead(rig) == []


async def test_a_retry_comes_back_when_asked_and_not_before(rig: Rig) -> None:
    seen: list[str] = []

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        seen.append(body_of(envelope))
        if seen[-1] == "in an hour":
            return Retry(3_600.0)
        return Retry(0.5) if seen.count("soon") == 1 else Ack()

    async def one_is_away() -> bool:
        stats = await rig.admin.stats()
        return (stats.waiting, (stats.delayed or 0) + (stats.in_flight or 0)) == (0, 1)

    async with consuming(rig, decide):
        await rig.admin.send("in an hour", request_id="r1")
        await rig.admin.send("soon", request_id="r2")
        await eventually(lambda: seen.count("soon") == 2)
        await eventually(one_is_away)
    assert sorted(seen) == ["in an hour", "soon", "soon"]


async def test_counted_retries_end_among_the_dead(rig: Rig) -> None:
    script = Script(Retry(0.0))
    limit = (
        rig.max_receives - 1 if rig.max_receives else 3
    )  # else the broker moves it, and tells no reason
    async with consuming(rig, script, max_deliveries=3):
        await rig.admin.send("poison", request_id="r1")
        (message,) = await eventually(lambda: dead(rig))
    assert [envelope.deliveries for envelope in script.seen] == list(range(1, limit + 1))
    assert message.reason_code == "attempts_exhausted"
    assert message.body == "poison"
    await eventually(lambda: empty(rig))


async def test_uncounted_retries_never_end_a_message(rig: Rig) -> None:
    if not rig.counts:
        pytest.skip("this broker counts every delivery")
    script = Script(*[Retry(0.0, counted=False)] * 6, Ack())
    async with consuming(rig, script, max_deliveries=3):
        await rig.admin.send("busy", request_id="r1")
        await eventually(lambda: len(script.seen) == 7)
    assert {envelope.deliveries for envelope in script.seen} == {1}
    assert await dead(rig) == []


async def test_dead_letters_keep_reason_and_body_and_can_be_looked_at_again(rig: Rig) -> None:
    script, before = Script(DeadLetter(REASON)), math.floor(time.time())
    async with consuming(rig, script):
        await rig.admin.send('{"scoring_job_id": "j1", "request_id": "r1"}', request_id="r1")
        await eventually(lambda: dead(rig))
    for _ in range(3):  # looking takes nothing away
        (message,) = await eventually(lambda: dead(rig))
        assert message.reason_code == "scorecard_error"
        assert message.reason == "line 3: no such class"
        assert message.body == '{"scoring_job_id": "j1", "request_id": "r1"}'
        assert message.died_at is not None
        assert before <= message.died_at <= time.time()  # clock: an order, the same at any speed
    await eventually(lambda: empty(rig))


async def test_discard_deletes_only_the_chosen(rig: Rig) -> None:
    script = Script(DeadLetter(REASON))
    async with consuming(rig, script):
        for n in range(4):
            await rig.admin.send(f"{n}", request_id=f"r{n}")
        await eventually(lambda: len(script.seen) == 4)

    async def odd(message: DeadMessage) -> bool:
        return int(message.body) % 2 == 1

    discarded = 0

    async def both() -> bool:
        nonlocal discarded
        discarded += await rig.admin.discard(odd, limit=10)
        return discarded == 2

    await eventually(both)

    async def left() -> bool:
        return sorted([message.body for message in await dead(rig)]) == ["0", "2"]

    await eventually(left)
    assert await empty(rig)
    assert await rig.admin.exists()


async def test_redrive_moves_only_the_chosen(rig: Rig) -> None:
    script = Script(DeadLetter(REASON))
    async with consuming(rig, script):
        for n in range(4):
            await rig.admin.send(f"{n}", request_id=f"r{n}")
        await eventually(lambda: len(script.seen) == 4)

    async def four() -> bool:
        return len(await dead(rig)) == 4

    await eventually(four)

    async def odd(message: DeadMessage) -> bool:
        return int(message.body) % 2 == 1

    assert await rig.admin.redrive(odd, limit=10) == 2
    again = Script(Ack())
    async with consuming(rig, again):
        await eventually(lambda: len(again.seen) == 2)
    assert sorted(again.bodies) == ["1", "3"]
    if rig.counts:
        assert {envelope.deliveries for envelope in again.seen} == {1}

    async def left() -> bool:
        return sorted([message.body for message in await dead(rig)]) == ["0", "2"]

    await eventually(left)


async def test_malformed_messages_die_among_good_ones(rig: Rig) -> None:
    handled: list[ScoringRequest] = []

    async def handle(request: ScoringRequest, deadline: float | None) -> Disposition:
        handled.append(request)
        return Ack()

    bad = ["{", "[]", "null", '""', "12", '{"scoring_job_id": ""}', '{"scoring_job_id": 7}', "{}"]
    async with consuming(rig, RequestHandler(handle, system="test")):
        for n, body in enumerate(bad):
            await rig.admin.send(body, request_id=f"bad{n}")
            await rig.admin.send(f'{{"scoring_job_id": "j{n}"}}', request_id=f"good{n}")
        await eventually(lambda: len(handled) == len(bad))

        async def all_dead() -> bool:
            return len(await dead(rig)) == len(bad)

        await eventually(all_dead)
    assert {message.reason_code for message in await dead(rig)} == {"invalid_request"}
    assert sorted(request.scoring_job_id for request in handled) == [
        f"j{n}" for n in range(len(bad))
    ]
    # The sender's id for the exchange stands in where the body names none.
    assert sorted(request.request_id for request in handled) == [
        f"good{n}" for n in range(len(bad))
    ]


async def test_an_error_that_no_one_foresaw_sends_the_message_back(rig: Rig) -> None:
    class Broken(Script):
        async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
            await super().__call__(envelope, deadline)
            raise ZeroDivisionError

    script = Broken(Ack())
    async with consuming(rig, script):
        await rig.admin.send("boom", request_id="r1")
        await eventually(lambda: script.seen)

        async def delayed() -> bool:
            stats = await rig.admin.stats()
            return bool(stats.delayed or stats.in_flight)

        await eventually(delayed)
    assert await dead(rig) == []


async def test_no_more_than_the_bound_is_in_work(rig: Rig) -> None:
    now = most = ended = 0
    full = asyncio.Barrier(3)

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        nonlocal now, most, ended
        now += 1
        most = max(most, now)
        await full.wait()
        now -= 1
        ended += 1
        return Ack()

    async with consuming(rig, decide, concurrency=3):
        for n in range(21):
            await rig.admin.send(f"{n}", request_id=f"r{n}")
        await eventually(lambda: ended == 21)
    assert most == 3


async def test_a_stop_lets_work_end_and_gives_back_what_was_not_begun(rig: Rig) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    ended: list[str | bytes] = []

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        started.set()
        await finish.wait()
        ended.append(envelope.body)
        return Ack()

    for n in range(5):
        await rig.admin.send(f"{n}", request_id=f"r{n}")
    async with consuming(rig, decide, concurrency=1) as consumer:
        await started.wait()
        consumer.stop()
        finish.set()
    assert len(ended) == 1
    rest = Script(Ack())
    async with consuming(rig, rest):
        await eventually(lambda: len(rest.seen) == 4)
    if rig.counts:
        assert {envelope.deliveries for envelope in rest.seen} == {1}
    await eventually(lambda: empty(rig))


@pytest.mark.parametrize("twice", [False, True], ids=["drain ends", "second signal"])
async def test_work_that_outlives_the_drain_is_cancelled_and_given_back(
    rig: Rig, twice: bool
) -> None:
    started = asyncio.Event()
    cancelled = 0

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        nonlocal cancelled
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return Ack()

    await rig.admin.send("long", request_id="r1")
    async with consuming(rig, decide, drain_seconds=HANG_SECONDS if twice else 0.1) as consumer:
        await started.wait()
        consumer.stop()
        if twice:
            consumer.stop()
    assert cancelled == 1
    again = Script(Ack())
    async with consuming(rig, again):
        await eventually(lambda: again.seen)
    if rig.counts:
        assert again.seen[0].deliveries == 1
    await eventually(lambda: empty(rig))


async def test_a_message_that_is_held_too_long_is_cancelled_and_comes_back(rig: Rig) -> None:
    clock, cut, seen = ManualClock(), asyncio.Event(), 0

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        nonlocal seen
        seen += 1
        if seen == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()
        return Ack()

    await rig.admin.send("hung", request_id="r1")
    async with consuming(rig, decide, max_hold_seconds=60, clock=clock, sleep=clock.sleep):
        await eventually(lambda: seen == 1)
        clock.advance(60 + HANG_SECONDS)  # and no second more: it may take its time to release
        for _ in range(5):
            await asyncio.sleep(0)
        assert not cut.is_set()
        clock.advance(1)
        await cut.wait()
        await eventually(lambda: seen == 2)
    await eventually(lambda: empty(rig))


class Extended:
    """A rig's messages in hand: how often they were extended, and whether the machine let one go meanwhile."""

    def __init__(self, rig: Rig, hold: float) -> None:
        self.count = 0
        self.lapsed = False
        self._hold = hold
        self._since = asyncio.get_running_loop().time()
        self._source = rig.source
        rig.source = self.source  # type: ignore[method-assign]

    def source(self) -> Source:
        source = self._source()
        extend = source.extend

        async def noted(deliveries: Sequence[Delivery]) -> None:
            began = asyncio.get_running_loop().time()
            await extend(deliveries)
            if deliveries:
                self.count += 1
                waited = asyncio.get_running_loop().time() - self._since
                self.lapsed |= waited >= self._hold  # clock: it decides whether to look once more
                self._since = began

        source.extend = noted  # type: ignore[method-assign]
        return source


async def times_delivered(kind: str, hold: float) -> tuple[int, bool]:
    """Keep a message for more than two holds; return how often it came, and whether the machine stalled."""
    name = {"redis": "lock_seconds", "sqs": "visibility_seconds"}[kind]
    async with open_rig(kind, **{name: hold}) as rig:
        extended, seen, ended = Extended(rig, hold), 0, False

        async def decide(envelope: Envelope, deadline: float) -> Disposition:
            nonlocal seen, ended
            seen += 1
            await eventually(lambda: extended.count >= 7)  # once each third of a hold
            ended = True
            return Ack()

        await rig.admin.send("long", request_id="r1")
        async with consuming(rig, decide), consuming(rig, decide):  # a second worker waits for it
            await eventually(lambda: ended)
            await eventually(lambda: empty(rig))
        return seen, extended.lapsed


# RabbitMQ leaves a message with us as long as we are connected.
@pytest.mark.parametrize("kind", ["redis", "sqs"])
async def test_a_message_in_work_is_extended_and_not_delivered_twice(kind: str) -> None:
    for hold in (2.0, 10.0, 50.0):  # the broker's clock goes on while a machine stalls
        seen, stalled = await times_delivered(kind, hold)
        if not stalled:
            break
    assert seen == 1


async def test_responses_carry_the_request_id(rig: Rig) -> None:
    async def handle(request: ScoringRequest, deadline: float | None) -> Disposition:
        await rig.responder.respond(
            ScoringResponse(
                request_id=request.request_id,
                scoring_job_id=request.scoring_job_id,
                status="success",
                value="Ja, 是",
            )
        )
        return Ack()

    async with consuming(rig, RequestHandler(handle, system="test")):
        await rig.admin.send('{"scoring_job_id": "j1", "request_id": "r1"}', request_id="r1")
        (response,) = await eventually(rig.responses)
    assert response["request_id"] == "r1"
    assert response["scoring_job_id"] == "j1"
    assert response["value"] == "Ja, 是"


async def test_reading_goes_on_after_the_broker_could_not_be_read(rig: Rig) -> None:
    script = Script(Ack())
    source = rig.source()
    real, failures = source.receive, iter(range(3))

    async def receive(limit: int) -> object:
        if next(failures, None) is not None:
            raise StoreUnavailable("not now")
        return await real(limit)

    source.receive = receive  # type: ignore[assignment, method-assign]
    consumer = Consumer(
        source,
        script,
        concurrency=1,
        drain_seconds=HANG_SECONDS,
        max_hold_seconds=60,
        max_deliveries=5,
    )
    running = asyncio.create_task(consumer.run())
    await rig.admin.send("one", request_id="r1")
    await eventually(lambda: script.seen)
    consumer.stop()
    await running
