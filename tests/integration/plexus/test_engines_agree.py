"""Plexus itself behind our engine gives the recorded answers, as the portable engine does: `make test-plexus`.

PLEXUS_PYTHON names the interpreter of an environment that Plexus is installed in. Without it nothing here runs, and
says so; `test_plexus_host.py` then holds the engine to the recorded contract of the package.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.conformance import test_recorded_cases as recorded

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("PLEXUS_PYTHON")
TABLE = ROOT / "build" / "plexus-agreement.txt"

pytestmark = pytest.mark.skipif(
    PYTHON is None,
    reason="NOT RUN: the real Plexus package on the recorded cases (make test-plexus PLEXUS_SRC=checkout)",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the engine `plexus` answered, by case; all cases in one process, whose import takes half a minute."""
    folders = [f"tests/cases/{name}" for name in recorded.NAMES]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.plexus_cases", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return {answer["case"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def compared(answer):
    """Return what is compared of an outcome."""
    outcome = answer.get("outcome")
    if outcome is None:
        return {"error": answer["error"]}
    return {
        "value": outcome["value"],
        "explanation": outcome["explanation"] or "",
        "confidence": outcome["confidence"],
        "cost": recorded.rounded(recorded.expected_cost(outcome)),
        "trace": recorded.without_doubles((outcome["trace"] or {}).get("node_results", [])),
    }


def as_recorded(case):
    expected = recorded.read(case, "expected.json")
    if expected.get("dependency_unmet"):
        return {"error": "dependency_unmet"}
    return {
        "value": expected["value"],
        "explanation": expected.get("explanation") or "",
        "confidence": expected.get("confidence"),
        "cost": recorded.rounded(recorded.expected_cost(expected)),
        "trace": recorded.without_doubles((expected.get("trace") or {}).get("node_results", [])),
    }


async def as_portable(case):
    outcome, _ = await recorded.answer(case)
    if outcome is None:
        return {"error": "dependency_unmet"}
    values = json.loads(msgspec.json.encode(outcome))
    return compared({"outcome": values})


@pytest.mark.parametrize("case", recorded.NAMES)
def test_the_engine_answers_as_recorded(case, answers):
    assert compared(answers[case]) == as_recorded(case)
    assert recorded.in_order(answers[case]["requests"]) == recorded.in_order(
        recorded.read(case, "expected.json").get("model_requests", [])
    )


async def test_the_agreement_of_both_engines(answers):
    fields = ("value", "explanation", "confidence", "cost", "trace")
    same = dict.fromkeys(fields, 0)
    unmet, differing = 0, []
    for case in recorded.NAMES:
        ours, theirs = await as_portable(case), compared(answers[case])
        if "error" in theirs:
            unmet += ours == theirs
        for field in fields:
            same[field] += "error" not in theirs and ours.get(field) == theirs[field]
        if ours != theirs:
            differing.append(case)
    table = [
        f"agreement of the engines portable and plexus on {len(recorded.NAMES)} recorded cases"
    ]
    table += [f"  {field:12} {same[field] + unmet:3}" for field in fields]
    table.append(f"  of them dependency_unmet on both: {unmet}; differing: {differing or 'none'}")
    # A file, because tests that run side by side have no terminal; `make test-plexus` shows it.
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join(table) + "\n", encoding="utf-8")
    assert differing == []


def test_no_thread_is_left_behind_by_a_score(answers):
    # Upstream's own worker leaves two behind for each job; a pool of a few is what the process may keep.
    assert max(answers[case]["threads"] for case in recorded.NAMES) <= 16
