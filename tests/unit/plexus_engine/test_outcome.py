"""What is made of a result as Plexus's host tells it."""

import pytest

from plexus_scoring.engines.plexus.outcome import cost_of_calls, outcome_of
from plexus_scoring.model.errors import (
    AccountRefused,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    ScoreDisabled,
    ScoreFailed,
)

COST = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "llm_calls": 1, "total_cost": 0.5,
        "components": [{"type": "api_call", "provider": None, "model": "m", "usd": 0.5}]}  # fmt: skip
CALL = {"agent": "judge", "provider": None, "model": "openai/gpt-4o-mini", "prompt_tokens": 7,
        "completion_tokens": 4, "cached_tokens": None, "input_cost": 1e-6, "output_cost": 2e-6,
        "usd": 3e-6}  # fmt: skip
LIMITED = "Lua execution error: litellm.RateLimitError: RateLimitError: slow down"


def result(value, **more):
    return {"value": value, **more}


def test_what_dependencies_cost_is_counted():
    outcome = outcome_of(
        {"1": result("Yes", cost=COST), "2": result("Warm", explanation="x", cost=COST), "3": None},
        "2",
        "Tone",
    )
    assert (outcome.value, outcome.explanation, outcome.cost.llm_calls) == ("Warm", "x", 1)
    assert outcome.dependencies_cost.total_cost == 0.5


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (result("ERROR", error="RateLimitError: slow down"), EngineUnavailable, "slow down"),
        (result("ERROR", error="x", exception_type="APIConnectionError"), EngineUnavailable, "x"),
        (result("ERROR", error=LIMITED), EngineUnavailable, "slow down"),
        (result("ERROR", error="ValueError: bad graph"), ScoreFailed, "bad graph"),
        (result("ERROR", error="Workflow execution timed out after 300 seconds"), DeadlineExceeded, "300"),
        (result("ERROR"), ScoreFailed, "no reason"),
        (result("SKIPPED", explanation="unmet"), DependencyUnmet, "unmet"),
        (result("DISABLED", error="is disabled"), ScoreDisabled, "disabled"),
        (result("PAUSED"), ScoreFailed, "batch"),
        (None, ScoreFailed, "no result"),
    ],
)  # fmt: skip
def test_what_is_no_value_is_an_error(given, error, text):
    with pytest.raises(error, match=text):
        outcome_of({"1": given}, "1", "Greeting")


def test_a_score_behind_a_skipped_one_is_unmet():
    with pytest.raises(DependencyUnmet, match="skipped"):
        outcome_of({"2": result("SKIPPED")}, "1", "Greeting")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("AuthenticationError", "Incorrect API key"),
        ("RateLimitError", "You exceeded your current quota, please check your plan and billing"),
    ],
)
def test_a_refused_account_is_told_from_a_provider_that_is_away(kind, said):
    given = {"value": "ERROR", "error": said, "exception_type": kind}
    with pytest.raises(AccountRefused, match=said[:20]):
        outcome_of({"1": given}, "1", "Greeting")


def test_an_unknown_after_all_retries_is_undetermined():
    given = result("unknown", explanation="Maximum retries reached")
    assert outcome_of({"1": given}, "1", "Greeting").undetermined


def test_a_tactus_score_s_calls_are_its_cost():
    cost = outcome_of({"1": result("Yes", calls=[CALL, CALL])}, "1", "Greeting").cost
    assert (cost.llm_calls, cost.total_tokens, cost.total_cost) == (2, 22, 6e-6)
    assert (cost.input_cost, cost.output_cost) == (2e-6, 4e-6)
    (first, _) = cost.components
    assert (first.provider, first.model) == ("openai", "gpt-4o-mini")
    assert first.metadata == {"node_name": "judge"}


def test_a_total_without_calls_is_one_component():
    cost = cost_of_calls([{"provider": "tactus", "prompt_tokens": 9, "usd": 0.1}])
    assert (cost.components[0].provider, cost.total_tokens, cost.total_cost) == ("tactus", 9, 0.1)
