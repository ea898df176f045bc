"""The bound adapts, the queue is fair, the budgets hold."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.engines.models.limiter import (
    FLOW,
    AdaptiveBound,
    ProviderLimiter,
    Signal,
    TokenBucket,
)
from plexus_scoring.engines.models.settings import ModelSettings, ProviderLimits
from plexus_scoring.model.errors import ConfigurationError

signals = st.lists(st.tuples(st.sampled_from(Signal), st.integers(1, 50)), max_size=200)


@given(st.integers(1, 40), signals)
def test_the_bound_stays_between_one_and_its_maximum(maximum, history):
    bound = AdaptiveBound(maximum)
    for now, (signal, in_flight) in enumerate(history):
        bound.learn(signal, started=now, now=now + 0.5, in_flight=in_flight)
        assert 1 <= bound.value <= maximum


def test_the_bound_halves_once_for_a_burst_of_refusals():
    bound = AdaptiveBound(64)
    for _ in range(64):  # all began before the first refusal came
        bound.learn(Signal.CONGESTED, started=0, now=1, in_flight=64)
    assert bound.value == 32
    bound.learn(Signal.CONGESTED, started=2, now=3, in_flight=32)
    assert bound.value == 16


def test_the_bound_grows_by_one_in_a_round_of_full_use():
    bound = AdaptiveBound(64)
    bound.learn(Signal.CONGESTED, started=0, now=1, in_flight=20)
    assert bound.value == 10
    for _ in range(11):
        bound.learn(Signal.ANSWERED, started=2, now=3, in_flight=10)
    assert bound.value == 11


def test_the_bound_does_not_grow_while_it_is_not_used():
    bound = AdaptiveBound(64)
    bound.learn(Signal.CONGESTED, started=0, now=1, in_flight=20)
    for _ in range(100):
        bound.learn(Signal.ANSWERED, started=2, now=3, in_flight=3)
    assert bound.value == 10


@given(
    per_minute=st.floats(1, 10_000),
    costs=st.lists(st.floats(0.01, 500), min_size=1, max_size=60),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_the_bucket_allows(per_minute, costs, pauses):
    bucket = TokenBucket(per_minute, now=0.0)
    now = 0.0
    taken: list[tuple[float, float]] = []
    for cost, pause in zip(costs, itertools.cycle(pauses), strict=False):
        now += pause
        wait = bucket.wait(cost, now)
        now += wait
        assert bucket.wait(cost, now) <= 1e-6  # what was promised holds
        bucket.take(cost, now)
        taken.append((now, cost))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            spent = sum(cost for _, cost in taken[first : last + 1])
            seconds = taken[last][0] - taken[first][0]
            # The last call may cost more than the bucket holds: it waited for a full one.
            allowed = bucket.capacity + per_minute / 60 * seconds + max(0, taken[last][1])
            assert spent <= allowed * (1 + 1e-6)


def test_an_estimate_too_high_is_given_back():
    bucket = TokenBucket(600, now=0.0)
    bucket.take(60, 0.0)
    assert bucket.wait(1, 0.0) > 0
    bucket.take(-50, 0.0)
    assert bucket.wait(50, 0.0) == 0


async def test_no_more_in_flight_than_allowed_and_all_get_through():
    limiter = ProviderLimiter(ProviderLimits(concurrency=5))
    peak = 0

    async def call():
        nonlocal peak
        permit = await limiter.acquire()
        peak = max(peak, limiter.in_flight)
        await asyncio.sleep(0)
        limiter.release(permit, Signal.ANSWERED)

    await asyncio.gather(*(call() for _ in range(200)))
    assert peak == 5
    assert limiter.in_flight == 0


async def test_flows_take_turns():
    limiter = ProviderLimiter(ProviderLimits(concurrency=1))
    order: list[str] = []
    held = await limiter.acquire()

    async def call(flow: str):
        FLOW.set(flow)
        permit = await limiter.acquire()
        order.append(flow)
        limiter.release(permit, Signal.ANSWERED)

    tasks = [asyncio.create_task(call("big")) for _ in range(5)]
    tasks += [asyncio.create_task(call("small")) for _ in range(2)]
    await asyncio.sleep(0)
    limiter.release(held, Signal.ANSWERED)
    await asyncio.gather(*tasks)
    assert order == ["big", "small", "big", "small", "big", "big", "big"]


async def test_who_gives_up_takes_no_turn():
    limiter = ProviderLimiter(ProviderLimits(concurrency=1))
    held = await limiter.acquire()
    quitter = asyncio.create_task(limiter.acquire())
    patient = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    quitter.cancel()
    limiter.release(held, Signal.ANSWERED)
    await patient
    assert quitter.cancelled()
    assert limiter.in_flight == 1


async def test_who_is_cancelled_in_the_moment_of_its_turn_gives_it_back():
    limiter = ProviderLimiter(ProviderLimits(concurrency=1, requests_per_minute=10_000))
    held = await limiter.acquire()
    unlucky = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    limiter.release(held, Signal.ANSWERED)  # the turn is given …
    unlucky.cancel()  # … and not yet taken
    await asyncio.gather(unlucky, return_exceptions=True)
    assert limiter.in_flight == 0


@given(st.lists(st.sampled_from(["finish", "cancel", "start"]), max_size=60))
def test_cancelling_at_any_moment_loses_no_turn(steps):
    async def play():
        limiter = ProviderLimiter(ProviderLimits(concurrency=2))
        calls: list[asyncio.Task] = []
        for step in steps:
            if step == "start":
                calls.append(asyncio.create_task(limiter.acquire()))
            elif step == "cancel":
                # Also a task whose turn was given in this very moment and that has not run since.
                waiting = [task for task in calls if not task.done()]
                if waiting:
                    calls.remove(waiting[0])
                    waiting[0].cancel()
            else:
                holder = next((task for task in calls if task.done()), None)
                if holder is not None:
                    calls.remove(holder)
                    limiter.release(holder.result(), Signal.ANSWERED)
                    continue  # no pause: what follows meets the turn just given
            await asyncio.sleep(0)
            assert limiter.in_flight <= 2
        while calls:
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                calls.remove(task)
                limiter.release(task.result(), Signal.ANSWERED)
        await asyncio.sleep(0)
        assert limiter.in_flight == 0

    asyncio.run(play())


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def test_a_refusal_with_a_wait_stops_the_others_too():
    clock = Clock()
    limiter = ProviderLimiter(ProviderLimits(concurrency=4), clock=clock)
    permit = await limiter.acquire()
    limiter.release(permit, Signal.CONGESTED, retry_after=0.02)
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.now = 0.03  # the timer fires by real time, the limiter reads this clock
    await waiting


async def test_requests_per_minute_hold_back():
    clock = Clock()
    limiter = ProviderLimiter(ProviderLimits(requests_per_minute=600), clock=clock)
    for _ in range(60):
        await limiter.acquire()
    late = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    assert not late.done()
    clock.now = 0.1
    await late


def test_settings_for_one_provider_go_before_the_general_ones():
    settings = ModelSettings.from_environment(
        {
            "PLEXUS_MODEL_CONCURRENCY": "9",
            "PLEXUS_MODEL_CONCURRENCY_OPENAI": "3",
            "PLEXUS_MODEL_TOKENS_PER_MINUTE": "1e5",
            "PLEXUS_MODEL_TIMEOUT_SECONDS": "7.5",
            "PLEXUS_MODEL_ATTEMPTS": "",
        }
    )
    assert settings.limits("openai") == ProviderLimits(concurrency=3, tokens_per_minute=1e5)
    assert settings.limits("azure") == ProviderLimits(concurrency=9, tokens_per_minute=1e5)
    assert (settings.timeout, settings.attempts) == (7.5, 4)


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf", "1.5"])
def test_a_malformed_setting_is_named(value):
    with pytest.raises(ConfigurationError, match="PLEXUS_MODEL_ATTEMPTS"):
        ModelSettings.from_environment({"PLEXUS_MODEL_ATTEMPTS": value})
