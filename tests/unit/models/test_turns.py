"""Time spent waiting for a turn."""

from plexus_scoring.engines.models.turns import TURNS, TurnClock, waiting


def test_waits_at_the_same_time_count_once():
    now = [0.0]
    clock = TurnClock(lambda: now[0])
    assert not clock.mostly
    with clock.waiting(), clock.waiting():
        now[0] = 6.0
        assert clock.mostly
    now[0] = 11.0
    assert clock.mostly
    now[0] = 13.0
    assert not clock.mostly


def test_a_wait_is_the_jobs_that_asks():
    now = [0.0]
    clock = TurnClock(lambda: now[0])
    token = TURNS.set(clock)
    try:
        with waiting():
            now[0] = 1.0
    finally:
        TURNS.reset(token)
    assert clock.mostly
    with waiting():  # nobody asks
        pass
