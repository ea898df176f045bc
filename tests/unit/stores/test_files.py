"""The catalog over a directory."""

from __future__ import annotations

import json

import pytest

from plexus_scoring.model.errors import InvalidRequest, NotFound, ScorecardError
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import content_version
from plexus_scoring.ports import Catalog
from plexus_scoring.stores.files import FilesCatalog

CARD = "name: Calls\nkey: calls\nscores:\n  - name: Greeting\n    id: s-1\n    class: KeywordClassifier\n"


@pytest.fixture
def catalog(tmp_path):
    (tmp_path / "items" / "deep").mkdir(parents=True)
    (tmp_path / "scorecards").mkdir()
    return FilesCatalog(tmp_path)


def test_is_a_catalog(catalog):
    assert isinstance(catalog, Catalog)


async def test_a_text_file_is_an_item(catalog, tmp_path):
    (tmp_path / "items" / "deep" / "call 1.txt").write_bytes("Hé\r\nllo".encode())
    assert await catalog.item("deep/call 1") == Item(id="deep/call 1", text="Hé\r\nllo")
    assert (await catalog.item("deep/call 1", account="a")).text == "Hé\r\nllo"


async def test_a_json_file_is_an_item(catalog, tmp_path):
    body = {"id": "call-7", "text": "Hi", "metadata": {"a": 1}, "external_id": "x", "more": 1}
    (tmp_path / "items" / "seven.json").write_text(json.dumps(body))
    expected = Item(id="call-7", text="Hi", metadata={"a": 1}, external_id="x")
    assert await catalog.item("call-7") == expected
    with pytest.raises(NotFound):
        await catalog.item("seven")


@pytest.mark.parametrize(
    "item_id", ["no", "", "../x", "/etc/passwd", "a\0", "\ud800", "x" * 5_000, "é" * 300]
)
async def test_a_missing_item_is_not_found(catalog, item_id):
    with pytest.raises(NotFound):
        await catalog.item(item_id)


@pytest.mark.parametrize("body", ["{", "[]", '{"id": "x"}', '{"text": 1}', "[" * 100_000])
async def test_a_json_file_that_is_no_item_is_named(catalog, tmp_path, body):
    (tmp_path / "items" / "bad.json").write_text(body)
    with pytest.raises(InvalidRequest, match=r"bad\.json"):
        await catalog.item("bad")


async def test_a_file_that_is_no_text_is_named_with_its_line(catalog, tmp_path):
    (tmp_path / "items" / "bad.txt").write_bytes(b"one\ntwo \xff")
    with pytest.raises(InvalidRequest, match=r"bad\.txt:2: not UTF-8"):
        await catalog.item("bad")


async def test_a_scorecard_is_found_by_its_names(catalog, tmp_path):
    (tmp_path / "scorecards" / "calls.yaml").write_text(CARD)
    card = await catalog.scorecard("calls")
    assert card == await catalog.scorecard("Calls", account="a")
    assert card.version == content_version(CARD)
    assert [score.name for score in card.scores] == ["Greeting"]


async def test_a_changed_file_is_a_new_version(catalog, tmp_path):
    path = tmp_path / "scorecards" / "calls.yaml"
    path.write_text(CARD)
    await catalog.scorecard("calls")
    path.write_text(CARD + "# more\n")
    assert (await catalog.scorecard("calls")).version == content_version(CARD + "# more\n")


async def test_a_broken_file_is_reported_with_its_place_if_nothing_else_answers(catalog, tmp_path):
    (tmp_path / "scorecards" / "calls.yaml").write_text(CARD)
    (tmp_path / "scorecards" / "a-bad.yaml").write_text("name: Bad\nscores:\n  - name: [\n")
    assert (await catalog.scorecard("calls")).key == "calls"
    with pytest.raises(ScorecardError, match=r"a-bad\.yaml:\d+:\d+: "):
        await catalog.scorecard("bad")


async def test_what_was_put_is_found(catalog):
    item = Item(id="a/b", text="x\0", metadata={"k": None}, external_id="e")
    await catalog.put_item(item)
    assert await catalog.item("a/b") == item


async def test_a_scorecard_that_was_put_is_found(catalog, tmp_path):
    (tmp_path / "scorecards" / "calls.yaml").write_text(CARD)
    card = await catalog.scorecard("calls")
    other = FilesCatalog(tmp_path / "other")
    await other.put_scorecard(card)
    assert (await other.scorecard("calls")).version == card.version


@pytest.mark.parametrize("item_id", ["../x", "/x", "", "a\0b", "a//b", "x" * 300])
async def test_no_item_leads_out_of_the_directory(catalog, item_id):
    with pytest.raises(InvalidRequest):
        await catalog.put_item(Item(id=item_id, text=""))


async def test_an_empty_directory_has_nothing(tmp_path):
    catalog = FilesCatalog(tmp_path / "nothing")
    with pytest.raises(NotFound):
        await catalog.item("x")
    with pytest.raises(NotFound):
        await catalog.scorecard("x")
