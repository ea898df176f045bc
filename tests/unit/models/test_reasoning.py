"""Thinking is no answer."""

import pytest

from plexus_scoring.engines.models.base import ChatReply, TokenLogprob
from plexus_scoring.engines.models.reasoning import split, without_reasoning


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>2 or 3? I take 2</think>2", "2 or 3? I take 2", "2"),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),
        ("2 or 3? I take 2</think>\n2", "2 or 3? I take 2", "2"),  # opened in the prompt
        ("<think>2 or 3? I take 2", "2 or 3? I take 2", ""),  # cut
        ("<THINK>no</THINK>Yes", "no", "Yes"),
        ("<thought>no</thought>Yes", "no", "Yes"),
        ("[THINK]no[/THINK]Yes", "no", "Yes"),
        ("<think>a</think>Yes, <think>b</think>certainly", "ab", "Yes, certainly"),
        ("<think>the tag <think> is</think> odd</think>2", "the tag  is odd", "2"),
        ("Yes", None, "Yes"),
        ("<b>Yes</b> <thinking>aloud</thinking>", None, "<b>Yes</b> <thinking>aloud</thinking>"),
        (
            "<|channel|>analysis<|message|>Yes?<|end|><|start|>assistant<|channel|>final<|message|>No",
            "analysis Yes?  assistant",
            "No",
        ),
        ("<|channel|>analysis<|message|>Yes?", "analysis Yes?", ""),
    ],
)
def test_split(text, thought, answer):
    assert split(text)[:2] == (None if thought is None else thought, answer)


def test_a_class_that_was_only_thought_of_has_no_part_in_the_confidence():
    tokens = [TokenLogprob(text, -0.1) for text in ("<think>", "No", "</think>", "\n", "Yes")]
    reply = ChatReply(text="<think>No</think>\nYes", model="m", logprobs=tuple(tokens))
    found = without_reasoning(reply)
    assert (found.text, found.reasoning) == ("Yes", "No")
    assert [token.token for token in found.logprobs] == ["\n", "Yes"]


def test_reasoning_that_came_apart_is_kept_too():
    reply = ChatReply(text="<think>b</think>Yes", model="m", reasoning="a")
    assert without_reasoning(reply).reasoning == "a\nb"
