"""Whatever accounts and ids are made of, no two jobs share a stored key, a result id or a digest by accident."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.result import result_id_of
from plexus_scoring.stores.codec import encode, memo_key
from plexus_scoring.stores.content import content_digest
from plexus_scoring.stores.dynamodb import rows, table
from plexus_scoring.stores.dynamodb.expressions import text
from tests.support.stores import new_job

# Few and telling characters, so that what is told apart by luck alone is not.
PARTS = st.text("a/:#@0123", min_size=1, max_size=8) | st.sampled_from(
    ["default", "a", "a/b", "/1:a"]
)
KEYS = st.builds(JobKey, PARTS, PARTS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=8,
)
METADATA = st.dictionaries(st.text(), JSON, max_size=4)


@given(KEYS, KEYS)
@example(JobKey("a", "b/c"), JobKey("a/b", "c"))
@example(JobKey("default", "@a/b"), JobKey("a", "b"))
@example(JobKey("", "0:/a"), JobKey("a", "b"))
def test_no_two_keys_share_a_place(one, other):
    for place in (
        lambda key: key.text,
        rows.partition,
        lambda key: rows.partition(key, rows.RESULT),
        result_id_of,
    ):
        assert (place(one) == place(other)) == (one == other)


@given(KEYS)
def test_a_place_names_its_job(key):
    for place in (rows.partition(key), rows.old_partition(key)):
        item = {table.PARTITION_KEY: text(place), table.LISTING_HASH: text(key.account)}
        assert rows.key_of(item) == key


@given(PARTS)
def test_what_the_default_account_has_stored_stays_where_it_is(job_id):
    key = JobKey("default", job_id)
    assert rows.partition(key) == rows.old_partition(key) == f"JOB#{job_id}"
    assert rows.partition(key, rows.RESULT) == f"RESULT#{job_id}"


def test_the_default_accounts_result_ids_and_memo_keys_are_those_of_before():
    assert result_id_of(JobKey("default", "job-1")) == "bd0e3117-9387-5d92-bafd-9e1b35178694"
    content = {"item_digest": "d", "score_version": "v", "score": "s"}
    assert (
        memo_key(**content)
        == memo_key(**content, account="default")
        == "ec443714edd6a0ac93a89bca1ac981608503d9263fab4248eedea276382e25e6"
    )
    assert memo_key(**content, account="acme") != memo_key(**content)


@given(METADATA)
def test_a_jobs_content_is_what_comes_out_of_the_stores_as_well(metadata):
    new = new_job(item=Item(id="i", text="t", metadata=metadata))
    turned = new_job(item=Item(id="i", text="t", metadata=dict(reversed(metadata.items()))))
    stored = new_job(
        item=Item(id="i", text="t", metadata=_through_json(metadata)), request_id="another"
    )
    assert content_digest(new) == content_digest(turned) == content_digest(stored)


@given(METADATA, METADATA)
def test_other_metadata_is_other_content(one, other):
    digests = [
        content_digest(new_job(item=Item(id="i", text="t", metadata=m))) for m in (one, other)
    ]
    assert (digests[0] == digests[1]) == (encode_sorted(one) == encode_sorted(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"item": Item(id="a", text="bc")}, {"item": Item(id="ab", text="c")}),
        ({"item": Item(id="a", s3=ObjectRef("b/c", "d"))}, {"item": Item(id="a", s3=ObjectRef("b", "c/d"))}),
        ({"scorecard": "ab", "score": "c"}, {"scorecard": "a", "score": "bc"}),
        ({"item": Item(id="a", text="")}, {"item": None, "item_id": "a"}),
        ({"item": Item(id="a", text="{}")}, {"item": Item(id="a", text="", metadata={})}),
    ],
)  # fmt: skip
def test_contents_that_would_be_one_text_if_joined_differ(one, other):
    assert content_digest(new_job(**one)) != content_digest(new_job(**other))


def _through_json(value):
    return msgspec.json.decode(encode(value))  # noqa: TID251  of no type


def encode_sorted(value):
    return msgspec.json.encode(_through_json(value), order="sorted")
