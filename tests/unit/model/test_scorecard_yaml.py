"""Scorecard files: names, places, and text that is no scorecard."""

import copy
import math
import pickle

import pytest

from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard import content_version
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.model.yaml_document import MAX_DEPTH, parse_yaml

CARD = """\
name: Calls
key: calls
id: 12
externalId: 7
scores:
- name: Greeting
  id: 1
  key: greeting
  class: KeywordClassifier
- name: Tone
  class: LangGraphScore
"""


def test_names_ids_and_version():
    card = load_scorecard(CARD, file="calls.yaml")
    assert (card.name, card.key, card.id, card.external_id) == ("Calls", "calls", "12", "7")
    assert card.version == content_version(CARD)
    assert [(score.name, score.id, score.key) for score in card.scores] == [
        ("Greeting", "1", "greeting"),
        ("Tone", "Tone", None),
    ]


def test_one_scores_own_yaml():
    card = load_scorecard("class: KeywordClassifier\nkeywords: [a]\n", file="folder/refund.yaml")
    assert (card.name, card.scores[0].name) == ("refund", "refund")
    named = load_scorecard("name: Refund\nid: 3\nclass: KeywordClassifier\n")
    assert (named.id, named.scores[0].id) == ("Refund", "3")


def test_a_key_that_begins_like_yaml_1_1_stays_text():
    data = parse_yaml("a: yes\nb: Off\nc: 'true'\nd: true\ne: 0o17\nf: 1_000\ng: 2020-01-01\n").data
    assert data == {
        "a": "yes",
        "b": "Off",
        "c": "true",
        "d": True,
        "e": 15,
        "f": 1000,
        "g": "2020-01-01",
    }


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("007", 7),
        ("1e3", 1000.0),
        ("0x1F", 31),
        ("1_000", 1000),
        (".5", 0.5),
        ("0045", 45),
        ("1.50", 1.5),
        ("+5", 5),
        (".inf", math.inf),
    ],
)
def test_a_number_keeps_its_written_text(written, number):
    data = parse_yaml(f"a: {written}\n{written}: b\n").data
    assert data["a"] == number
    assert (str(data["a"]), f"{data['a']}", data[written]) == (written, written, "b")
    assert type(copy.deepcopy(data)["a"]) in (int, float)
    assert type(pickle.loads(pickle.dumps(data["a"]))) in (int, float)


@pytest.mark.parametrize("number", ["7", "-3", "1.5", "0"])
def test_a_number_that_is_written_as_python_writes_it_is_a_plain_one(number):
    assert type(parse_yaml(f"a: {number}").data["a"]) in (int, float)


def test_ids_keep_their_written_text():
    card = load_scorecard("id: 0045\nscores: [{name: 007, id: 1e3, externalId: 1_000}]")
    (ref,) = card.scores
    assert (card.id, ref.name, ref.id, ref.external_id) == ("0045", "007", "1e3", "1_000")


def test_places_and_merged_keys():
    document = parse_yaml("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist:\n- a\n-   b\n")
    assert document.data["use"] == {"x": 1, "y": 3}
    assert document.find(("use", "y")) == (4, 3)
    assert document.find(("use", "x")) == (1, 11)
    assert document.find(("list", 1)) == (7, 5)
    assert document.find(("list", 9, "none")) == (5, 1)
    assert document.place(document.data["use"], "y").line == 4


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "f:1", "this is empty"),
        ("- a\n", "f:1", "this is a list"),
        ("name: x\n", "f:1:1", "neither"),
        ("name: x\nscores: {A: 1}\n", "f:2:1", "must be a list"),
        ("name: x\nscores: []\n", "f:2:1", "at least one"),
        ("scores:\n- text\n", "f:2:3", "not a mapping"),
        ("scores:\n- class: X\n", "f:2:3", "has no name"),
        ("scores:\n- name: A\n- name: A\n", "f:3:3", "two scores"),
        ("a: 1\na: 2\n", "f:2:1", "twice"),
        ("a: [1\n", "f:2:1", "not valid YAML"),
        ("a: {{text}}\n", "f:1:5", "quotes"),
        ("a: *b\n", "f:1:4", "no anchor"),
        ("a: &a [*a]\n", "f:1:8", "no anchor"),
        ("a: !!python/name:os.system x\n", "f:1:4", "tag"),
        ("a: !secret x\n", "f:1:4", "tag"),
        ("--- 1\n--- 2\n", "f:2:1", "second YAML document"),
        ("a: \0\n", "f:1", "U+0000"),
        ("a: \ud800\n", "f", "surrogates"),
        ("[" * 100_000, f"f:1:{MAX_DEPTH + 1}", "deep"),
    ],
)
def test_what_is_no_scorecard_is_told_with_its_place(text, place, message):
    with pytest.raises(ScorecardError) as raised:
        load_scorecard(text, file="f")
    assert raised.value.message.startswith(f"{place}: ")
    assert message in raised.value.message


def test_aliases_cannot_blow_up():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ScorecardError, match="aliases counted"):
        parse_yaml("\n".join(lines))
