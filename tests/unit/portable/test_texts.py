"""Sentences, quotes, fuzzy targets and data paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from plexus_scoring.engines.portable.data_paths import values_at
from plexus_scoring.engines.portable.fuzzy import match_text, match_values, target_names
from plexus_scoring.engines.portable.language.nodes import FuzzyMatchClassifierNode
from plexus_scoring.engines.portable.quotes import clean_quote, find_similar
from plexus_scoring.engines.portable.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It is 3.5 percent. Right.", ["It is 3.5 percent.", "Right."]),
        ("Mr. Pell said no.", ["Mr.", "Pell said no."]),  # untrained: no abbreviations
        ("J. Smith came. a. b", ["J. Smith came.", "a. b"]),
        ("Wait... what? ok", ["Wait... what?", "ok"]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("(Really?) Yes.", ["(Really?)", "Yes."]),
        ("Item 5. is next", ["Item 5. is next"]),
        ("", []),
        ("   ", []),
        ("no end\nat all", ["no end\nat all"]),
    ],
)
def test_sentences_end_where_an_untrained_punkt_ends_them(text, sentences):
    assert split_sentences(text) == sentences


@settings(max_examples=200)
@given(st.text(alphabet="aB3 .?!\n\"')(,;-", max_size=60))
def test_sentences_are_parts_of_the_text_in_order(text):
    position = 0
    for sentence in split_sentences(text):
        position = text.index(sentence, position) + len(sentence)


def test_quotes_are_cleaned():
    assert clean_quote(' Quote: "Thank you" ') == "Thank you"
    assert clean_quote('"Quote: it\'s fine"') == "it's fine"


def naive_similar(quote, text, cutoff):
    best, best_score = None, 0.0
    for start in range(len(text) - len(quote.split()) + 1):
        window = text[start : start + len(quote)]
        if fuzz.ratio(quote, window) > best_score:
            best, best_score = window, fuzz.ratio(quote, window)
    return best if best and best_score >= cutoff else None


@settings(max_examples=300)
@given(st.text("ab c", min_size=1, max_size=8), st.text("ab cd", max_size=40), st.integers(0, 100))
def test_the_most_similar_window_is_the_naive_one(quote, text, cutoff):
    assert find_similar(quote, text, cutoff) == naive_similar(quote, text, cutoff)


def test_a_long_quote_in_a_long_text_is_aligned_not_compared_everywhere():
    text = "".join(f"word{number} " for number in range(60_000))
    quote = text[200_000:230_000].replace("word30000", "wort30000")
    found = find_similar(quote, text, 50)
    assert found is not None
    assert fuzz.ratio(found, quote) > 99


def targets_of(targets):
    node = {
        "name": "n",
        "class": "FuzzyMatchClassifier",
        "data_paths": ["text"],
        "targets": targets,
    }
    return FuzzyMatchClassifierNode.model_validate(node).targets


def one(text, threshold=80, **keys):
    return {"target": text, "threshold": threshold, **keys}


def test_groups_may_be_nested():
    targets = targets_of(
        {
            "operator": "and",
            "items": [one("cat"), {"operator": "or", "items": [one("dog"), one("cow")]}],
        }
    )
    assert target_names(targets) == ["cat", "dog", "cow"]
    met, matches = match_values(targets, ["cat", "cow", "", "hen"])
    assert met
    assert [match["target"] for match in matches] == ["cat", "cow"]
    assert match_values(targets, ["cat"]) == (False, [])


def test_a_text_match_tells_its_place():
    met, (match,) = match_text(targets_of(one("cancel", 90, scorer="partial_ratio")), "I cancel it")
    assert met
    assert (match["matched_text"], match["matched_indices"]) == ("cancel", (2, 8))


FIELDS = {
    "text": "t",
    "n": 5,
    "metadata": {
        "a": {"b": None, "c": [1, "x"]},
        "s": [{"id": 1, "k": {"v": "w"}}, {"id": None}, 3],
    },
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("text", ["t"]),
        ("n", ["5"]),
        ("metadata.a.c", ["1", "x"]),
        ("metadata.a.c[1]", ["x"]),
        ("metadata.a.c[7]", []),
        ("metadata.a.c[x]", []),
        ("metadata.a.b", []),
        ("metadata.a.b.c", []),
        ("metadata.s[].id", ["1"]),
        ("metadata.s[].k.v", ["w"]),
        ("metadata.a.c[]", ["1", "x"]),
        ("text[]", []),
        ("text.x", []),
        ("nothing", []),
        ("", [str(FIELDS)]),
    ],
)
def test_data_paths(path, values):
    assert values_at(FIELDS, path) == values
