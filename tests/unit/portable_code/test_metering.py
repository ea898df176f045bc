"""What a run's limits count: its own processor time, and the clock only at the very end."""

import types

import pytest

from plexus_scoring.engines.portable import metering


@pytest.fixture
def clock(monkeypatch):
    times = types.SimpleNamespace(wall=100.0, cpu=10.0)
    fake = types.SimpleNamespace(monotonic=lambda: times.wall, thread_time=lambda: times.cpu)
    monkeypatch.setattr(metering, "time", fake)
    return times


def meter(**changes):
    return metering.Meter(**{"steps": 1_000, "seconds": 5.0, "memory": 1 << 40} | changes)


def test_time_spent_waiting_for_other_threads_is_not_the_runs_own(clock):
    running = meter()
    for _ in range(10):
        clock.wall += 5.5
        clock.cpu += 0.49
        running.step()
    assert running.seconds_left() == pytest.approx(0.1)
    clock.wall += 0.2
    clock.cpu += 0.2
    with pytest.raises(metering.Stopped, match="longer than 5 s"):
        running.step()


def test_a_run_that_never_gets_the_processor_ends_by_the_clock(clock):
    running = meter()
    clock.wall += 61
    with pytest.raises(metering.Stopped, match="longer than 60 s"):
        running.step()


def test_on_the_event_loop_the_clock_counts(clock):
    running = meter(seconds=0.02, wall=0.02)
    clock.wall += 0.03
    with pytest.raises(metering.Stopped):
        running.step()


def test_waiting_for_a_thread_does_not_count(clock):
    running = meter()
    clock.wall += 1_000
    running.start()
    clock.wall += 1
    running.step()


def test_a_run_cancelled_before_it_began_stops_at_its_first_step(clock):
    running = meter()
    running.cancel()
    running.start()
    with pytest.raises(metering.Stopped, match="cancelled"):
        running.step()
