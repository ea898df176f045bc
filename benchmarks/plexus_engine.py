"""What the host process adds to a score of Plexus: budgets 1.05 x for the first score and 2 ms for a warm one.

    PLEXUS_PYTHON=INTERPRETER python -m benchmarks.plexus_engine [--scores 40] [--starts 3]

Needs the environment that `make test-plexus` makes. Plexus called directly is a process of the same interpreter that
imports it, makes the scorecard once and scores on one event loop, as any user would. First scores are timed from the
start of the process. Warm ones are taken in turn, so that both meet the same load of the machine; figures are medians,
the difference is one of pairs. Plexus's CloudWatch calls and downloads are left out on both sides.

The round trip is the host's own part alone: a stand-in for Plexus that computes nothing. It needs no Plexus.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from plexus_scoring.engines.plexus.build import build_plexus_engine
from plexus_scoring.engines.plexus.configuration import Configuration
from plexus_scoring.engines.plexus.engine import PlexusEngine
from plexus_scoring.engines.plexus.isolation import HOSTS
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings
from plexus_scoring.telemetry.logs import configure_logging, job_scope
from tests.support import plexus_hosts

ROOT = Path(__file__).parents[1]
FIRST_BUDGET, WARM_BUDGET_MS = 1.05, 2.0
TEXT = "hello, this is Ann. " * 200
CARD = """name: Card
key: card
scores:
- name: Greeting
  id: 1
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini-2024-07-18
  graph:
  - name: greeting
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          return Score.Result(parameters=parameters, value="Yes", metadata={"explanation": "a greeting"})
  output:
    value: classification
    explanation: explanation
"""
DIRECT = """
import asyncio, json, os, sys, time
given = json.loads(sys.argv[1])
os.environ.update(given["environ"])
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.path.insert(0, given["hosts"])
import plexus_host
host = plexus_host.PlexusHost(None)
host._import()
card = host._scorecard_class.create_instance_from_api_data(given["id"], given["structure"], given["entries"])
card.cloudwatch_logger = plexus_host.NoCloudWatch()

async def score():
    results = await card.score_entire_text(
        text=given["text"], metadata={}, modality="Production", subset_of_score_names=["Greeting"])
    assert results["1"].value == "Yes", results

async def main():
    while True:
        began = time.perf_counter()
        await score()
        answers.write(f"{time.perf_counter() - began}\\n")
        answers.flush()
        if not sys.stdin.readline():
            return

asyncio.run(main())
"""


class Direct:
    """Plexus called by a process of its own. Use it in a `with` statement."""

    def __init__(self, python: str) -> None:
        structure, entries = Configuration(load_scorecard(CARD)).for_package(["Greeting"])
        given = {
            "environ": environment(), "hosts": str(HOSTS), "id": "card", "structure": structure,
            "entries": entries, "text": TEXT,
        }  # fmt: skip
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [python, "-I", "-c", DIRECT, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(), cwd="/",
        )  # fmt: skip
        self._answer()
        self.first = time.perf_counter() - began

    def score(self) -> float:
        """Score once more and return the milliseconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer() * 1000

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())


def environment() -> dict[str, str]:
    """Return what both kinds of process are given."""
    return {
        "PLEXUS_ACCOUNT_KEY": "default", "OPENAI_API_KEY": "none", "HOME": "/tmp", "LOG_LEVEL": "INFO",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PLEXUS_DISABLE_CLOUDWATCH_LOGS": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }  # fmt: skip


def make_engine(python: str) -> PlexusEngine:
    """Return the engine under test."""
    return build_plexus_engine(Settings(plexus_python=python), environment())


async def through(engine: PlexusEngine) -> float:
    """Score once through the engine and return the seconds that it took."""
    context = ScoreContext(
        item=Item(id="item", text=TEXT), scorecard=load_scorecard(CARD), score="Greeting"
    )
    began = time.perf_counter()
    with job_scope():
        outcome = await engine.score(context)
    assert outcome.value == "Yes"
    return time.perf_counter() - began


async def round_trip(scores: int) -> None:
    """Print how long a score takes whose Plexus computes nothing."""
    configure_logging("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(str(plexus_hosts.stand_in_plexus(Path(folder) / "environment")))
        times = [await through(engine) * 1000 for _ in range(scores + 20)][20:]
        await engine.aclose()
    median = statistics.median(times)
    print(
        f"plexus   round trip to the host {median:.2f} ms, with a text of 4 kB"
        f" (budget {WARM_BUDGET_MS:.0f}: {met(median <= WARM_BUDGET_MS)})"
    )


async def measure(python: str, scores: int, starts: int) -> None:
    """Run both ways in turn, and print what the host adds."""
    configure_logging("ERROR")
    firsts: tuple[list[float], list[float]] = ([], [])
    for _ in range(starts):
        direct = Direct(python)
        firsts[0].append(direct.first)
        direct.close()
        engine = make_engine(python)
        firsts[1].append(await through(engine))
        await engine.aclose()
    direct, engine = Direct(python), make_engine(python)
    warm: list[tuple[float, float]] = []
    for number in range(scores + 3):
        pair = direct.score(), await through(engine) * 1000
        if number >= 3:
            warm.append(pair)
    direct.close()
    await engine.aclose()
    report(firsts, warm)


def report(firsts: tuple[list[float], list[float]], warm: list[tuple[float, float]]) -> None:
    """Print both figures beside their budgets."""
    alone, hosted = (statistics.median(times) for times in firsts)
    ratio, added = hosted / alone, statistics.median(b - a for a, b in warm)
    print(
        f"plexus   first score {alone:.2f} s directly, {hosted:.2f} s through the host: {ratio:.2f} x"
        f" (budget {FIRST_BUDGET}: {met(ratio <= FIRST_BUDGET)})"
    )
    print(
        f"plexus   warm score {statistics.median(a for a, _ in warm):.1f} ms directly,"
        f" {statistics.median(b for _, b in warm):.1f} ms through the host: {added:+.1f} ms"
        f" (budget {WARM_BUDGET_MS:.0f}: {met(added <= WARM_BUDGET_MS)})"
    )


def met(fulfilled: Any) -> str:
    """Return the verdict."""
    return "met" if fulfilled else "NOT met"


def main() -> None:
    """Measure, or say why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scores", type=int, default=40)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(round_trip(400))
    python = os.environ.get("PLEXUS_PYTHON", str(ROOT / ".venv-plexus/bin/python"))
    if not Path(python).is_file():
        print(
            "plexus   NOT RUN: Plexus is not installed here (make test-plexus PLEXUS_SRC=checkout)"
        )
        return
    asyncio.run(measure(python, options.scores, options.starts))


if __name__ == "__main__":
    main()
