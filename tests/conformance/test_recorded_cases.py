"""What Plexus 1.50.1 answered on the cases in tests/cases is what we answer: values, explanations, costs, prompts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.errors import DependencyUnmet
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from tests.support.chat_server import ScriptedChatServer

CASES = Path(__file__).parents[1] / "cases"
NAMES = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


def read(case: str, file: str) -> Any:
    return json.loads((CASES / case / file).read_text(encoding="utf-8"))


async def answer(case: str) -> tuple[ScoreOutcome | None, list[dict[str, Any]]]:
    """Return the outcome, None for an unmet dependency, and the requests that the model got."""
    given = read(case, "input.json")
    text = (CASES / case / "scorecard.yaml").read_text(encoding="utf-8")
    with ScriptedChatServer(read(case, "replies.json")) as server:
        settings = ModelSettings.from_environment(server.environment())
        engine = PortableEngine(ModelRouter(settings))
        try:
            outcome = await engine.score(
                ScoreContext(
                    item=Item(id="item", text=given["text"], metadata=given["metadata"]),
                    scorecard=load_scorecard(text, file="scorecard.yaml"),
                    score=given["score"],
                )
            )
        except DependencyUnmet:
            outcome = None
        finally:
            await engine.aclose()
        return outcome, [request.as_case() for request in server.requests]


def in_order(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Independent scores run at the same time, so the order of their requests is nobody's promise."""
    return sorted(requests, key=lambda request: json.dumps(request, sort_keys=True))


def without_doubles(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Upstream writes each value setter's entry twice."""
    return [
        entry
        for number, entry in enumerate(entries)
        if number == 0 or entry != entries[number - 1] or "condition" not in entry
    ]


def expected_cost(expected: dict[str, Any]) -> dict[str, Any]:
    """Upstream's totals of calls and tokens stop at a LogicalNode; its components are right."""
    cost = dict(expected["cost"])
    parts = cost["components"]
    for total, part in (
        ("prompt_tokens", "prompt_tokens"),
        ("completion_tokens", "completion_tokens"),
        ("llm_calls", "llm_calls"),
    ):
        cost[total] = sum(component[part] for component in parts)
    cost["total_tokens"] = cost["prompt_tokens"] + cost["completion_tokens"]
    return cost


def rounded(value: Any) -> Any:
    """Floats to 12 digits: sums of the same prices in another order differ in the last ones."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", NAMES)
async def test_same_answer_as_plexus(case):
    expected = read(case, "expected.json")
    outcome, requests = await answer(case)
    if expected.get("dependency_unmet"):
        assert outcome is None
    else:
        assert outcome is not None
        cost = json.loads(msgspec.json.encode(outcome.cost))
        trace = (outcome.trace or {}).get("node_results", [])
        upstream_trace = (expected.get("trace") or {}).get("node_results", [])
        assert outcome.value == expected["value"]
        assert (outcome.explanation or "") == (expected.get("explanation") or "")
        assert outcome.confidence == expected.get("confidence")
        assert rounded(cost) == rounded(expected_cost(expected))
        assert json.loads(json.dumps(trace)) == without_doubles(upstream_trace)
    assert in_order(requests) == in_order(expected.get("model_requests", []))


def test_the_cases_are_all_here():
    ours = [name for name in NAMES if name.startswith(("x-", "y-", "z-"))]
    assert (len(NAMES) - len(ours), len(ours)) == (102, 278)
