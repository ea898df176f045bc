"""Scorecards are fetched once, and never served older than their time to live."""

from __future__ import annotations

import asyncio

import pytest

from plexus_scoring.model.errors import NotFound
from plexus_scoring.stores.cache import CachedCatalog
from plexus_scoring.stores.memory import MemoryCatalog
from tests.support.service import CARD, FakeClock, Faulty


@pytest.fixture
async def behind():
    catalog = MemoryCatalog()
    await catalog.put_scorecard(CARD)
    return Faulty(catalog, "catalog")


def cached(behind, clock, directory=None, ttl=60):
    return CachedCatalog(behind, clock=clock, ttl_seconds=ttl, directory=directory)


async def test_a_hundred_jobs_at_once_make_one_fetch(behind):
    catalog = cached(behind, FakeClock())
    found = await asyncio.gather(*(catalog.scorecard("card") for _ in range(100)))
    assert set(found) == {CARD}
    assert behind.calls["scorecard"] == 1


async def test_it_is_fetched_again_when_its_time_is_over(behind):
    clock = FakeClock()
    catalog = cached(behind, clock)
    await catalog.scorecard("card")
    clock.time += 59
    await catalog.scorecard("card")
    assert behind.calls["scorecard"] == 1
    clock.time += 2
    await catalog.scorecard("card")
    assert behind.calls["scorecard"] == 2


async def test_a_new_process_finds_it_on_disk(behind, tmp_path):
    clock = FakeClock()
    await cached(behind, clock, tmp_path).scorecard("card")
    assert await cached(behind, clock, tmp_path).scorecard("card") == CARD
    assert behind.calls["scorecard"] == 1
    clock.time += 61
    await cached(behind, clock, tmp_path).scorecard("card")
    assert behind.calls["scorecard"] == 2


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"scorecard": 3}'])
async def test_a_broken_file_is_fetched_over(behind, tmp_path, content):
    clock = FakeClock()
    await cached(behind, clock, tmp_path).scorecard("card")
    [file] = tmp_path.glob("*.json")
    file.write_bytes(content)
    assert await cached(behind, clock, tmp_path).scorecard("card") == CARD


async def test_a_directory_that_cannot_be_written_costs_speed_only(behind, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert await cached(behind, FakeClock(), tmp_path / "file" / "dir").scorecard("card") == CARD


async def test_what_is_not_found_is_not_cached(behind):
    catalog = cached(behind, FakeClock())
    for _ in range(2):
        with pytest.raises(NotFound):
            await catalog.scorecard("nobody")
    assert behind.calls["scorecard"] == 2


async def test_a_cancelled_waiter_does_not_fail_the_others(behind):
    catalog = cached(behind, FakeClock())
    first = asyncio.create_task(catalog.scorecard("card"))
    second = asyncio.create_task(catalog.scorecard("card"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == CARD


async def test_storing_a_version_forgets_the_old_one(behind, tmp_path):
    catalog = cached(behind, FakeClock(), tmp_path)
    await catalog.scorecard("card")
    await catalog.put_scorecard(CARD)
    await catalog.scorecard("card")
    assert behind.calls["scorecard"] == 2
