"""The API's records as our words."""

import pytest

from plexus_scoring.model.job import JobStatus
from plexus_scoring.stores.plexus_api import records
from plexus_scoring.stores.plexus_api.client import _retry_after
from plexus_scoring.stores.plexus_api.errors import ApiError, parse_errors
from plexus_scoring.stores.plexus_api.handover import Bounded, Handover


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('{"a": "123"}', {"a": "123"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ({"a": None}, {"a": None}),
        (None, {}),
        ("", {}),
        ("[1]", {}),
        ("null", {}),
        ('"null"', {}),
        ("[" * 100_000, {}),
    ],
)
def test_awsjson_is_an_object_or_nothing(value, read):
    assert records.json_object(value, "metadata") == read


@pytest.mark.parametrize("character", ["x", "漢", "\0", "😀", "\ud800"])
def test_a_cut_text_fits(character):
    text = records.cut(character * 200_000)
    assert text.endswith("store)")
    assert records.fits(text, records.MAX_FIELD_BYTES)
    assert records.cut("short") == "short"
    assert records.cut(None) is None


def test_times_go_there_and_back():
    assert records.timestamp(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"
    assert records.seconds("2027-01-15T08:00:00.250Z") == 1_800_000_000.25
    assert records.seconds("2027-01-15T09:00:00+01:00") == 1_800_000_000
    assert records.seconds("yesterday") is None
    assert records.seconds(None) is None


@pytest.mark.parametrize(
    ("word", "status"),
    [("completed", JobStatus.COMPLETED), ("QUEUED", JobStatus.PENDING), (None, JobStatus.PENDING)],
)
def test_a_status_of_another_kind_is_pending(word, status):
    assert records.status_of({"status": word}) is status


def test_a_cost_that_is_not_understood_is_none():
    record = {"id": "r", "value": "Yes", "scorecardId": "s", "cost": '{"total_tokens": "many"}'}
    assert records.result_of(record, account="a").cost.total_tokens == 0


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            "Validation error of type FieldUndefined: Field 'x' in type 'Item' is undefined @ 'getItem/x'",
            ("Item", "x"),
        ),
        (
            "The variables input contains a field name 'x' that is not defined for input object type 'I' ",
            ("I", "x"),
        ),
        ("something else", None),
    ],
)
def test_a_field_that_the_schema_lacks_is_named(message, found):
    assert ApiError(message).unknown_field() == found


@pytest.mark.parametrize(
    "errors", [None, "x", [None], [{"path": "x"}], [{}], [{"message": None, "errorType": 1}]]
)
def test_odd_errors_are_errors_all_the_same(errors):
    assert all(error.message for error in parse_errors(errors))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("-3", 0),
        ("soon", 0),
        (None, 0),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10),
        ("nan", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert _retry_after(header, 1_800_000_000) == seconds


def test_what_is_kept_is_bounded():
    kept = Bounded(2)
    for number in range(5):
        kept.put(number, number)
    assert [kept.get(number) for number in range(5)] == [None, None, None, 3, 4]


def test_an_item_is_kept_for_each_job_that_will_ask():
    handover, item = Handover(), records.item_of({"id": "i", "text": "t"}, account="a")
    handover.give_item(item)
    handover.give_item(item)
    assert [handover.take_item("i") for _ in range(3)] == [item, item, None]
