"""An author's patterns: what could take the worker's time or memory is refused, or ends as the score's failure."""

import pytest

from plexus_scoring.engines.portable import regexes
from plexus_scoring.engines.portable.regexes import found_in, problem_of
from plexus_scoring.model.errors import BudgetExceeded


@pytest.mark.parametrize(
    "pattern",
    [
        "(?R)",
        "(?0)",
        "a|(?R)b",
        "((?1)a|b)",
        "(?<n>(?&n)a)",
        "(?P<n>(?P>n)a)",
        "(?#[)(?R)(?#])",
        r"\\(?R)",
    ],
)
def test_a_pattern_that_calls_itself_is_refused(pattern):
    """It takes 0.9 GB of memory on a text of 5,000 characters; Python's `re` has no such patterns."""
    assert "calls itself or a group" in (problem_of(pattern) or "")


@pytest.mark.parametrize("pattern", [r"\(?R", "[(]?R", "(?P<R>a)(?P=R)", "(?i:R)", r"(a)(?(1)b|c)"])
def test_what_only_looks_like_a_call_is_taken(pattern):
    assert problem_of(pattern) is None


async def test_memory_that_matching_does_not_get_is_the_score_s_failure(monkeypatch):
    class Greedy:
        def search(self, *_, **__):
            raise MemoryError

    monkeypatch.setattr(regexes, "_compiled", lambda *_, **__: Greedy())
    with pytest.raises(BudgetExceeded, match="too much memory"):
        await found_in("a", "a")
