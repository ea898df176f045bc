"""A scorecard out of the API's records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard_yaml import read_document
from plexus_scoring.stores.plexus_api.compose import _dump, champions_of, compose

TEXT = st.text(max_size=40) | st.sampled_from(
    ["yes", "No", "null", "~", "1e3", "0o14", "1_000", "2024-01-01", "a: b", "- x", "# no", "|", "\ttab",
     "line\nbreak", " trailing \n", "é😀", "true", "=", "<<", "!tag", "&a", "*a", "%x", "'", '"', "\\"]
)  # fmt: skip
KEYS = TEXT.filter(lambda key: key != "<<")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def structure(*scores, **changes):
    values = {"id": "card", "name": "Card", "key": "card", "externalId": "97", "accountId": "a"}
    return {**values, "sections": {"items": [{"scores": {"items": list(scores)}}]}, **changes}


def score(name, version="v1", **changes):
    return {"id": f"id-of-{name}", "name": name, "championVersionId": version, **changes}


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(data):
    assert read_document(_dump({"x": data})).data["x"] == data


def test_ids_come_from_the_record_the_rest_from_the_yaml():
    entry = score("Greeting", key="greeting", externalId="42", isDisabled=True)
    card = compose(
        structure(entry),
        {"v1": "name: Greeting\nid: 7\nclass: X\ncode: |\n  a\n  b\n"},
        account="acme",
    )
    data = read_document(card.source).data["scores"][0]
    assert data == {"name": "Greeting", "id": "id-of-Greeting", "class": "X", "code": "a\nb\n",
                    "key": "greeting", "externalId": "42", "version": "v1", "isDisabled": True}  # fmt: skip
    assert (card.id, card.account_id, card.external_id) == ("card", "acme", "97")
    assert card.scores[0].version == "v1"


def test_the_same_records_are_the_same_version():
    one, two = (compose(structure(score("A")), {"v1": "class: X"}, account="a") for _ in range(2))
    assert one == two
    other = compose(structure(score("A", "v2")), {"v2": "class: X"}, account="a")
    assert other.version != one.version


@pytest.mark.parametrize(
    ("entry", "configurations", "reason"),
    [
        (score("A", None), {}, "no champion version"),
        (score("A", "v9"), {}, "v9 does not exist"),
        (score("A"), {"v1": "a: [1"}, "cannot be read: Plexus scorecard card, A, version v1:"),
        (score("A"), {"v1": "- list"}, "no mapping"),
        (score("A"), {"v1": ""}, "no mapping"),
    ],
)
def test_a_score_that_cannot_be_read_keeps_its_place_and_says_why(entry, configurations, reason):
    card = compose(structure(entry), configurations, account="a")
    assert reason in read_document(card.source).data["scores"][0]["class"]


@pytest.mark.parametrize(
    "sections", [None, {"items": []}, {"items": [None]}, {"items": [{"scores": None}]}]
)
def test_a_scorecard_without_scores_is_refused(sections):
    with pytest.raises(ScorecardError, match="no scores"):
        compose(structure(sections=sections), {}, account="a")


def test_a_scorecard_that_is_cut_off_is_refused():
    cut = {"items": [{"scores": {"items": [score("A")], "nextToken": "more"}}]}
    with pytest.raises(ScorecardError, match="more than"):
        champions_of(structure(sections=cut))


def test_two_scores_of_one_name_are_refused():
    with pytest.raises(ScorecardError, match="two scores"):
        compose(structure(score("A"), score("A")), {"v1": "class: X"}, account="a")
