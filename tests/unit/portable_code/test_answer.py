"""What comes back from the interpreter is bounded plain data, whatever the text says."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.engines.portable.code import CodePlace
from plexus_scoring.engines.portable.code.answer import MAX_CHARACTERS, crossing, read_answer
from plexus_scoring.model.errors import BudgetExceeded, ScoreFailed

PLACE = CodePlace("Tone")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON | st.text())
def test_any_text_is_an_answer_or_a_clear_error(value):
    for text in (json.dumps(value), json.dumps(["x", value, value]), str(value)):
        with contextlib.suppress(ScoreFailed):
            read_answer(text, PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '["int", ' + "9" * 5_000 + ", null]",
        "",
        "null",
        '["int", {"dict": [[[]], [1]]}, null]',
        '["Score.Result", {"dict": [[], []]}, null]',
        '["Score.Result", 1, null]',
        "[[1], 1, null]",
    ],
)
def test_odd_texts_are_refused(text):
    with pytest.raises(ScoreFailed, match="cannot be read"):
        read_answer(text, PLACE)


def test_keys_whose_hashes_are_no_secret_are_few():
    colliding = [number * (2**61 - 1) for number in range(2_000)]
    for value in ({"set": colliding}, {"dict": [colliding, colliding]}):
        with pytest.raises(ScoreFailed, match="cannot be read"):
            read_answer(json.dumps(["set", value, None]), PLACE)
    texts = [str(number) for number in colliding]
    assert len(read_answer(json.dumps(["set", {"set": texts}, None]), PLACE).value) == 2_000


def test_half_a_surrogate_pair_is_no_part_of_an_answer():
    text = r'["Score.Result", "\ud800é", {"dict": [["\udc00"], [["a", "\ud83d\ude00"]]]}]'
    answer = read_answer(text, PLACE)
    assert (answer.value, answer.metadata) == ("?é", {"?": ["a", "😀"]})


def test_a_text_that_is_too_long_is_not_read():
    with pytest.raises(BudgetExceeded, match="more than 1,000,000 characters"):
        read_answer("x" * (MAX_CHARACTERS + 1), PLACE)


def test_what_the_interpreter_does_not_know_crosses_as_text():
    class Thing:
        def __str__(self):
            return "a thing"

    given_value = {"a": [Thing(), (1, {2})], "b": "\ud800é", "c": 10**5_000}
    crossed = crossing(given_value)
    assert crossed["a"] == ["a thing", (1, {2})]
    assert crossed["b"] == "?é"
    assert crossed["c"].startswith("0x")
