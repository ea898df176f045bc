"""The scorecard cache."""

from __future__ import annotations

import asyncio

import pytest

from plexus_scoring.model.errors import NotFound, StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.ports import Catalog
from plexus_scoring.stores.cache import CachedCatalog
from plexus_scoring.stores.memory import MemoryCatalog
from tests.support.stores import FakeClock


def card(source="one", card_id="card"):
    return Scorecard(id=card_id, name=card_id, source=source, version=content_version(source))


class Counting(MemoryCatalog):
    """A catalog that counts what it is asked, and can be down."""

    def __init__(self):
        super().__init__()
        self.asked = 0
        self.down = False

    async def scorecard(self, reference, *, account=None):
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")
        return await super().scorecard(reference, account=account)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def behind():
    catalog = Counting()
    await catalog.put_scorecard(card())
    return catalog


@pytest.fixture
def cached(behind, clock, tmp_path):
    return lambda **options: CachedCatalog(
        behind, **{"ttl": 60, "directory": tmp_path / "cards", "clock": clock, **options}
    )


def test_is_a_catalog(cached):
    assert isinstance(cached(), Catalog)


async def test_a_scorecard_is_asked_for_once_in_a_while(cached, behind, clock):
    catalog = cached(directory=None)
    for _ in range(3):
        assert await catalog.scorecard("card") == card()
    assert behind.asked == 1
    await behind.put_scorecard(card("two"))
    clock.advance(59)
    assert (await catalog.scorecard("card")).source == "one"
    clock.advance(1)
    assert (await catalog.scorecard("card")).source == "two"
    assert behind.asked == 2


async def test_many_that_ask_at_once_ask_once(cached, behind):
    catalog = cached()
    await asyncio.gather(*(catalog.scorecard("card") for _ in range(50)))
    assert behind.asked == 1


async def test_accounts_do_not_share(cached, behind):
    catalog = cached()
    await catalog.scorecard("card", account="a")
    await catalog.scorecard("card", account="b")
    await catalog.scorecard("card")
    assert behind.asked == 3


async def test_another_process_finds_it_on_disk(cached, behind, clock):
    await cached().scorecard("card")
    assert await cached().scorecard("card") == card()
    assert behind.asked == 1
    clock.advance(60)
    await cached().scorecard("card")
    assert behind.asked == 2


async def test_without_ttl_it_asks_every_time(cached, behind):
    catalog = cached(ttl=0)
    await catalog.scorecard("card")
    await catalog.scorecard("card")
    assert behind.asked == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, None])
async def test_a_damaged_file_is_ignored(cached, behind, tmp_path, damage):
    await cached().scorecard("card")
    (path,) = (tmp_path / "cards").iterdir()
    path.write_bytes(path.read_bytes().replace(b"one", b"two") if damage is None else damage)
    assert await cached().scorecard("card") == card()
    assert behind.asked == 2
    assert await cached().scorecard("card") == card()
    assert behind.asked == 2


async def test_a_directory_that_others_may_write_to_is_not_trusted(cached, behind, tmp_path):
    await cached().scorecard("card")
    (tmp_path / "cards").chmod(0o777)
    await cached().scorecard("card")
    assert behind.asked == 2


async def test_a_directory_that_cannot_be_is_done_without(cached, behind, tmp_path):
    (tmp_path / "file").write_text("")
    catalog = cached(directory=tmp_path / "file" / "cards")
    assert await catalog.scorecard("card") == card()
    assert await catalog.scorecard("card") == card()
    assert behind.asked == 1


async def test_the_directory_stays_within_its_bound(cached, behind, tmp_path):
    catalog = cached(max_bytes=8_000)
    for number in range(10):
        await behind.put_scorecard(card("x" * 1_500, card_id=f"card-{number}"))
        await catalog.scorecard(f"card-{number}")
    files = list((tmp_path / "cards").iterdir())
    assert 1 <= len(files) <= 5
    assert sum(path.stat().st_size for path in files) <= 8_000


async def test_an_old_scorecard_is_better_than_none(cached, behind, clock, caplog):
    catalog = cached()
    await catalog.scorecard("card")
    clock.advance(1_000)
    behind.down = True
    assert await catalog.scorecard("card") == card()
    assert await cached().scorecard("card") == card()
    assert "using version" in caplog.text
    with pytest.raises(StoreUnavailable):
        await catalog.scorecard("another")


async def test_not_found_is_not_remembered(cached, behind):
    catalog = cached()
    with pytest.raises(NotFound):
        await catalog.scorecard("new")
    await behind.put_scorecard(card(card_id="new"))
    assert (await catalog.scorecard("new")).id == "new"


async def test_what_is_put_is_seen_at_once(cached):
    catalog = cached()
    await catalog.scorecard("card")
    await catalog.put_scorecard(card("two"))
    assert (await catalog.scorecard("card")).source == "two"
    await catalog.put_item(Item(id="i", text="x"))
    assert (await catalog.item("i")).text == "x"


async def test_a_caller_that_gives_up_stops_no_other(cached, behind):
    catalog = cached()
    first = asyncio.create_task(catalog.scorecard("card"))
    second = asyncio.create_task(catalog.scorecard("card"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == card()
    assert behind.asked == 1
