"""The Catalog and Checkpoints ports, on the stores that can be written to."""

from __future__ import annotations

import unicodedata

import pytest

from plexus_scoring.model.errors import InvalidRequest, NotFound
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.scorecard import Scorecard, ScoreRef, content_version
from plexus_scoring.ports import Catalog
from tests.support.stores import key


def card(source="name: Calls", **changes):
    values = {
        "id": "card-1",
        "name": "Call quality",
        "key": "call-quality",
        "external_id": "97",
        "source": source,
        "version": content_version(source),
        "scores": (ScoreRef(name="Greeting", id="s-1", key="greeting"),),
    }
    return Scorecard(**{**values, **changes})


@pytest.fixture
def catalog(stores):
    return stores.catalog


def test_is_a_catalog(catalog):
    assert isinstance(catalog, Catalog)


async def test_an_item_comes_back(catalog):
    item = Item(id="i", text="é \0", metadata={"a": [1, None]}, external_id="x", account_id=None)
    await catalog.put_item(item)
    assert await catalog.item("i") == item
    assert await catalog.item("i", account="anyone") == item
    moved = Item(id="i", s3=ObjectRef("bucket", "key"))
    await catalog.put_item(moved)
    assert await catalog.item("i") == moved


@pytest.mark.parametrize("item_id", ["nothing", "", "\0", "\ud800", "x" * 5_000])
async def test_a_missing_item_is_not_found(catalog, item_id):
    with pytest.raises(NotFound):
        await catalog.item(item_id)
    with pytest.raises(NotFound):
        await catalog.item(item_id, account="a")


@pytest.mark.parametrize("item_id", ["", "\0", "\ud800", "x" * 5_000])
async def test_an_item_that_no_store_can_hold_is_refused(catalog, item_id):
    with pytest.raises(InvalidRequest):
        await catalog.put_item(Item(id=item_id, text=""))


async def test_no_item_is_too_large(catalog):
    item = Item(id="i", text="漢" * 400_000)
    await catalog.put_item(item)
    assert await catalog.item("i") == item


async def test_an_account_sees_its_own_item_before_the_shared_one(catalog):
    for account in ("a", "b", None):
        await catalog.put_item(Item(id="i", text=f"of {account}", account_id=account))
    await catalog.put_item(Item(id="only-a", text="", account_id="a"))
    assert (await catalog.item("i", account="a")).text == "of a"
    assert (await catalog.item("i", account="b")).text == "of b"
    assert (await catalog.item("i", account="c")).text == "of None"
    assert (await catalog.item("i")).text == "of None"
    assert (await catalog.item("only-a")).account_id == "a"
    with pytest.raises(NotFound):
        await catalog.item("only-a", account="b")


async def test_an_item_of_several_accounts_is_ambiguous_without_one(catalog):
    for account in ("a", "b"):
        await catalog.put_item(Item(id="i", text="", account_id=account))
    with pytest.raises(InvalidRequest, match="account"):
        await catalog.item("i")


async def test_a_scorecard_answers_to_all_of_its_names(catalog):
    await catalog.put_scorecard(card())
    for reference in ("card-1", "call-quality", "97", "Call quality"):
        assert await catalog.scorecard(reference) == card()
        assert await catalog.scorecard(reference, account="anyone") == card()


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
async def test_an_accent_is_the_same_however_it_is_encoded(catalog, stored, asked):
    name = "Équipe Qualité"
    written = card(name=unicodedata.normalize(stored, name))
    await catalog.put_scorecard(written)
    assert await catalog.scorecard(unicodedata.normalize(asked, name)) == written


@pytest.mark.parametrize("reference", ["nothing", "", "\0", "\ud800", "x" * 5_000])
async def test_a_missing_scorecard_is_not_found(catalog, reference):
    await catalog.put_scorecard(card())
    with pytest.raises(NotFound):
        await catalog.scorecard(reference)


async def test_the_version_stored_last_is_the_newest(catalog, clock):
    for source in ("one", "two", "one"):
        await catalog.put_scorecard(card(source))
        assert (await catalog.scorecard("call-quality")).source == source
        clock.advance(1)


async def test_a_scorecard_does_not_answer_to_a_name_it_gave_up(catalog, clock):
    await catalog.put_scorecard(card(key="old-key"))
    clock.advance(1)
    await catalog.put_scorecard(card(key="new-key"))
    assert (await catalog.scorecard("new-key")).id == "card-1"
    with pytest.raises(NotFound):
        await catalog.scorecard("old-key")


async def test_an_id_goes_before_a_key_and_a_key_before_a_name(catalog, clock):
    for position, names in enumerate(
        [{"name": "x"}, {"key": "x"}, {"id": "x"}, {"external_id": "x"}]
    ):
        await catalog.put_scorecard(
            card(**{"id": f"c{position}", "name": "n", "key": None, "external_id": None, **names})
        )
        clock.advance(1)
    assert (await catalog.scorecard("x")).id == "x"


async def test_a_scorecard_of_another_account_is_not_seen(catalog):
    await catalog.put_scorecard(card(id="a-1", account_id="a"))
    await catalog.put_scorecard(card(id="b-1", account_id="b"))
    assert (await catalog.scorecard("97", account="a")).id == "a-1"
    assert (await catalog.scorecard("97", account="b")).id == "b-1"
    with pytest.raises(NotFound):
        await catalog.scorecard("97", account="c")
    with pytest.raises(InvalidRequest, match="account"):
        await catalog.scorecard("97")


async def test_no_scorecard_is_too_large(catalog):
    large = card("# 漢\n" * 200_000, name="n" * 3_000)
    await catalog.put_scorecard(large)
    assert await catalog.scorecard("n" * 3_000) == large


async def test_the_history_of_versions_is_kept(stores):
    for source in ("one", "two"):
        await stores.catalog.put_scorecard(card(source))
    first = await stores.catalog.scorecard_version("card-1", content_version("one"))
    assert first == card("one")
    with pytest.raises(NotFound):
        await stores.catalog.scorecard_version("card-1", "0" * 16)


async def test_checkpoints_are_kept_by_job_and_name(stores):
    checkpoints = stores.checkpoints
    assert await checkpoints.load(key("job-1")) == {}
    values = {"node/1": b"\x00\xff", "ü \0": b"", "n" * 3_000: b"x" * 700_000}
    for name, value in values.items():
        await checkpoints.save(key("job-1"), name, b"old")
        await checkpoints.save(key("job-1"), name, value)
    await checkpoints.save(key("job-2"), "node/1", b"other")
    assert await checkpoints.load(key("job-1")) == values
