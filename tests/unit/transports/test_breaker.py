import pytest

from plexus_scoring.model.errors import (
    AccountRefused,
    ConfigurationError,
    EngineUnavailable,
    ScoreFailed,
    StoreUnavailable,
)
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.metrics import MemoryMetrics
from plexus_scoring.transports.breaker import LONGEST_SECONDS, WATCHED, Breaker, Circuit


class Part:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    async def score(self, context):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self):
        return "closed"


@pytest.fixture
def told():
    return []


def circuit(told, now, *, failures=3, seconds=10):
    return Circuit(
        "engine",
        failures=failures,
        seconds=seconds,
        changed=lambda name, problem: told.append((name, problem)),
        clock=lambda: now[0],
    )


def test_it_shuts_after_failures_in_a_row_and_opens_by_time(told):
    now = [0.0]
    c = circuit(told, now)
    for _ in range(2):
        c.failed(EngineUnavailable("429"))
    c.succeeded()  # not in a row
    for _ in range(2):
        c.failed(EngineUnavailable("429"))
    assert c.wait == 0
    c.failed(EngineUnavailable("429"))
    assert c.wait == 10
    assert told == [("engine", "429")]
    now[0] = 10.0
    c.tick()
    assert c.wait == 0
    assert told[-1] == ("engine", None)


def test_on_trial_one_failure_shuts_it_again_and_one_success_ends_it(told):
    now = [0.0]
    c = circuit(told, now, failures=1)
    c.failed(EngineUnavailable("down"))
    now[0] = 11.0
    c.failed(EngineUnavailable("still down"))
    assert c.wait == 10
    now[0] = 22.0
    c.succeeded()
    now[0] = 23.0
    assert c.wait == 0
    assert told[-1] == ("engine", None)


def test_a_late_success_of_before_does_not_open_it(told):
    c = circuit(told, [0.0], failures=1)
    c.failed(EngineUnavailable("down"))
    c.succeeded()
    assert c.wait == 10


def test_a_provider_that_asks_for_more_time_gets_it(told):
    c = circuit(told, [0.0], failures=1)
    c.failed(EngineUnavailable("429", retry_after=60))
    assert c.wait == 60


def test_a_provider_that_asks_for_a_day_is_asked_again_before(told):
    c = circuit(told, [0.0], failures=1)
    c.failed(EngineUnavailable("429", retry_after=86_400))
    assert c.wait == LONGEST_SECONDS


async def test_it_watches_the_engine_and_knows_a_refusal_from_an_outage(told):
    metrics, now = MemoryMetrics(), [0.0]

    async def sleep(seconds):
        now[0] += seconds

    breaker = Breaker(
        failures=2,
        seconds=10,
        metrics=metrics,
        changed=lambda name, problem: told.append((name, problem)),
        clock=lambda: now[0],
        sleep=sleep,
    )
    down = EngineUnavailable("no answer")
    engine = breaker.watch(
        "engine", Part(ScoreFailed("no value"), down, ScoreFailed("x"), down, down, "Yes")
    )
    for _ in range(5):
        with pytest.raises((ScoreFailed, EngineUnavailable)):
            await engine.score(None)
    assert not breaker.is_open
    assert metrics.levels[names.BREAKER_OPEN] == 1
    await breaker.wait_open()
    assert await engine.score(None) == "Yes"
    assert metrics.levels[names.BREAKER_OPEN] == 0
    assert await engine.aclose() == "closed"
    assert told == [("engine", "no answer"), ("engine", None)]


@pytest.mark.parametrize("error", [AccountRefused("402: top it up"), ConfigurationError("no key")])
async def test_a_refused_account_and_a_wrong_set_up_shut_it(told, error, caplog):
    breaker = Breaker(
        failures=2, seconds=10, metrics=MemoryMetrics(), changed=lambda *what: told.append(what)
    )
    engine = breaker.watch("engine", Part(*[error] * 3))
    for _ in range(3):
        with pytest.raises(type(error)):
            await engine.score(None)
    assert not breaker.is_open
    assert told == [("engine", error.message)]
    assert [record.getMessage() for record in caplog.records] == [
        f"engine is down, taking no jobs for 10 s: {error.message}"
    ]


async def test_parts_that_tell_nothing_are_left_alone():
    breaker = Breaker(failures=1, seconds=1, metrics=MemoryMetrics(), changed=lambda *_: None)
    part = object()
    assert breaker.watch("responder", part) is part


@pytest.mark.parametrize(
    ("part", "method", "dependency"),
    [
        ("jobs", "claim", "store"),
        ("jobs", "complete", "store"),
        ("catalog", "scorecard", "catalog"),
        ("attachments", "put", "attachments"),
    ],
)
async def test_the_outage_of_each_store_has_its_name(told, part, method, dependency):
    breaker = Breaker(
        failures=1, seconds=60, metrics=MemoryMetrics(), changed=lambda *what: told.append(what)
    )

    async def gone():
        raise StoreUnavailable("gone")

    async def there():
        return "here"

    others = {
        other: breaker.watch(
            other, type("Part", (), dict.fromkeys(WATCHED[other][2], staticmethod(there)))()
        )
        for other in WATCHED
    }
    with pytest.raises(StoreUnavailable):
        await getattr(
            breaker.watch(part, type("Part", (), {method: staticmethod(gone)})()), method
        )()
    for other, (_, _, methods) in WATCHED.items():
        if other != part:
            assert await getattr(others[other], min(methods))() == "here"
    assert not breaker.is_open  # what else works does not make up for it
    assert told == [(dependency, "gone")]
