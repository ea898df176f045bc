"""Every transport, on its real server, maps every disposition in the same way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest

from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import ErrorInfo, StoreUnavailable
from plexus_scoring.model.messages import ScoringRequest, ScoringResponse
from plexus_scoring.transports.base import DeadMessage, Envelope
from plexus_scoring.transports.consumer import Consumer
from plexus_scoring.transports.requests import RequestHandler
from tests.support.transport_rigs import Rig, eventually, open_rig

TRANSPORTS = ["memory", "rabbitmq", "redis", "sqs"]
REASON = ErrorInfo(code="scorecard_error", message="line 3: no such class")


@pytest.fixture(params=TRANSPORTS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with open_rig(request.param) as rig:
        yield rig


class Script:
    """Answers each message by the first word of its body, and keeps what it saw."""

    def __init__(self, *dispositions: Disposition) -> None:
        self.dispositions = list(dispositions)
        self.seen: list[tuple[float, Envelope]] = []

    async def __call__(self, envelope: Envelope, deadline: float) -> Disposition:
        self.seen.append((time.time(), envelope))
        if len(self.dispositions) > 1:
            return self.dispositions.pop(0)
        return self.dispositions[0]

    @property
    def bodies(self) -> list[str]:
        return [
            body if isinstance(body := envelope.body, str) else body.decode()
            for _, envelope in self.seen
        ]


@contextlib.asynccontextmanager
async def consuming(
    rig: Rig,
    decide: Callable[..., object],
    *,
    concurrency: int = 10,
    drain_seconds: float = 5.0,
    max_hold_seconds: float = 60.0,
    max_deliveries: int = 20,
) -> AsyncIterator[Consumer]:
    consumer = Consumer(
        rig.source(),
        decide,  # type: ignore[arg-type]
        concurrency=concurrency,
        drain_seconds=drain_seconds,
        max_hold_seconds=max_hold_seconds,
        max_deliveries=max_deliveries,
    )
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
        consumer.stop()
    finally:
        if not consumer.stopping:
            consumer.stop()
        await asyncio.wait_for(running, 60)


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


async def test_retry_comes_back_no_earlier_than_asked(rig: Rig) -> None:
    script = Script(Retry(1.0), Ack())
    async with consuming(rig, script):
        await rig.admin.send("again", request_id="r1")
        await eventually(lambda: len(script.seen) == 2)
    first, second = (at for at, _ in script.seen)
    assert second - first >= 0.95
    assert script.bodies == ["again", "again"]
    await eventually(lambda: empty(rig))


async def test_counted_retries_end_among_the_dead(rig: Rig) -> None:
    script = Script(Retry(0.0))
    async with consuming(rig, script, max_deliveries=3):
        await rig.admin.send("poison", request_id="r1")
        (message,) = await eventually(lambda: dead(rig))
    assert [envelope.deliveries for _, envelope in script.seen] == [1, 2, 3]
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
    assert {envelope.deliveries for _, envelope in script.seen} == {1}
    assert await dead(rig) == []


async def test_dead_letters_keep_reason_and_body_and_can_be_looked_at_again(rig: Rig) -> None:
    script = Script(DeadLetter(REASON))
    async with consuming(rig, script):
        await rig.admin.send('{"scoring_job_id": "j1", "request_id": "r1"}', request_id="r1")
        await eventually(lambda: dead(rig))
    for _ in range(3):  # looking takes nothing away
        (message,) = await eventually(lambda: dead(rig))
        assert message.reason_code == "scorecard_error"
        assert message.reason == "line 3: no such class"
        assert message.body == '{"scoring_job_id": "j1", "request_id": "r1"}'
        assert message.died_at is not None
        assert abs(message.died_at - time.time()) < 60
    await eventually(lambda: empty(rig))


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
        assert {envelope.deliveries for _, envelope in again.seen} == {1}

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

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        nonlocal now, most, ended
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        ended += 1
        return Ack()

    async with consuming(rig, decide, concurrency=3):
        for n in range(20):
            await rig.admin.send(f"{n}", request_id=f"r{n}")
        await eventually(lambda: ended == 20)
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
        await asyncio.sleep(0.05)
        finish.set()
    assert len(ended) == 1
    rest = Script(Ack())
    async with consuming(rig, rest):
        await eventually(lambda: len(rest.seen) == 4)
    if rig.counts:
        assert {envelope.deliveries for _, envelope in rest.seen} == {1}
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
    async with consuming(rig, decide, drain_seconds=30 if twice else 0.1) as consumer:
        await started.wait()
        consumer.stop()
        if twice:
            consumer.stop()
    assert cancelled == 1
    again = Script(Ack())
    async with consuming(rig, again):
        await eventually(lambda: again.seen)
    if rig.counts:
        assert again.seen[0][1].deliveries == 1
    await eventually(lambda: empty(rig))


async def test_a_message_that_is_held_too_long_is_cancelled_and_comes_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plexus_scoring.transports.consumer.GIVE_BACK_SECONDS", 0.2)
    monkeypatch.setattr("plexus_scoring.transports.consumer._HOLD_CHECK_SECONDS", 0.05)
    seen = 0

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        nonlocal seen
        seen += 1
        if seen == 1:
            await asyncio.Event().wait()
        return Ack()

    await rig.admin.send("hung", request_id="r1")
    async with consuming(rig, decide, max_hold_seconds=0.2):
        await eventually(lambda: seen == 2)
    await eventually(lambda: empty(rig))


async def test_a_message_in_work_is_extended_and_not_delivered_twice(rig: Rig) -> None:
    hold = rig.source().hold_seconds
    if hold is None:
        pytest.skip("this broker leaves a message with us as long as we are connected")
    script = Script(Ack())

    async def decide(envelope: Envelope, deadline: float) -> Disposition:
        await asyncio.sleep(2.2 * hold)
        return await script(envelope, deadline)

    await rig.admin.send("long", request_id="r1")
    async with consuming(rig, decide), consuming(rig, decide):  # a second worker waits for it
        await eventually(lambda: script.seen)
        await eventually(lambda: empty(rig))
    assert len(script.seen) == 1


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
        drain_seconds=5,
        max_hold_seconds=60,
        max_deliveries=5,
    )
    running = asyncio.create_task(consumer.run())
    await rig.admin.send("one", request_id="r1")
    await eventually(lambda: script.seen)
    consumer.stop()
    await running
