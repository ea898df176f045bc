"""What the engine `plexus` adds to a score of the real Plexus package: the budget is 5 ms and no sleep.

    python -m benchmarks.plexus_engine [--scores 40]

Needs the environment that `make test-plexus` makes (or PLEXUS_PYTHON). One process, one warm score without a model;
in turn, the package called by itself (its scorecard made once, on one event loop, as any user would) and through the
engine, so that both meet the same load of the machine. Figures are medians; the difference is one of pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUDGET_MS = 5.0
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


async def measure(scores: int) -> None:
    """Run both ways in turn, and print what the engine adds."""
    from plexus_scoring.engines.plexus import PlexusEngine
    from plexus_scoring.engines.plexus.configuration import Configuration
    from plexus_scoring.model.item import Item
    from plexus_scoring.model.scorecard_yaml import load_scorecard
    from plexus_scoring.ports import ScoreContext

    card = load_scorecard(CARD)
    context = ScoreContext(
        item=Item(id="item", text="hello, this is Ann. " * 200), scorecard=card, score="Greeting"
    )
    engine = PlexusEngine()
    loaded = await engine._load()  # the same package for both
    logging.getLogger().setLevel(logging.WARNING)
    structure, entries = Configuration(card).for_package(["Greeting"])
    bare_card = loaded.scorecard_class.create_instance_from_api_data(card.id, structure, entries)
    slept: list[float] = []
    sleep = time.sleep

    async def bare() -> Any:
        with contextlib.redirect_stdout(None):
            return await bare_card.score_entire_text(
                text=context.item.text,
                metadata={},
                modality="Production",
                subset_of_score_names=["Greeting"],
                item=context.item,
            )

    def counted(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    time.sleep = counted
    alone, through = [], []
    sleeps, cpu = [0.0, 0.0], [0.0, 0.0]
    for number in range(scores + 3):
        for way, call, times in ((0, bare, alone), (1, lambda: engine.score(context), through)):
            slept.clear()
            began, busy = time.perf_counter(), time.process_time()
            await call()
            elapsed, busy = (time.perf_counter() - began) * 1000, time.process_time() - busy
            if number >= 3:  # warm from here on
                times.append(elapsed)
                sleeps[way] += sum(slept)
                cpu[way] += busy * 1000
    await engine.aclose()
    added = statistics.median(b - a for a, b in zip(alone, through, strict=True))
    verdict = "met" if added <= BUDGET_MS else "NOT met"
    sys.stderr.write(
        f"plexus   {statistics.median(alone):.1f} ms a score by itself, {statistics.median(through):.1f} ms through"
        f" the engine: {added:+.1f} ms (budget {BUDGET_MS:.0f}: {verdict});"
        f" CPU {cpu[0] / scores:.1f} and {cpu[1] / scores:.1f} ms; blocking sleeps"
        f" {sleeps[0]:.2f} s and {sleeps[1]:.2f} s in {scores} scores\n"
    )


def main() -> None:
    """Run in the environment that Plexus is installed in."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scores", type=int, default=40)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        asyncio.run(measure(options.scores))
        return
    python = os.environ.get("PLEXUS_PYTHON", str(ROOT / ".venv-plexus/bin/python"))
    if not Path(python).is_file():
        print(
            "plexus   NOT RUN: Plexus is not installed here (make test-plexus PLEXUS_SRC=checkout)"
        )
        return
    command = [python, "-m", "benchmarks.plexus_engine", "--inside", "--scores"]
    done = subprocess.run(
        [*command, str(options.scores)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "PLEXUS_ACCOUNT_KEY": "default",
             "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("plexus   ")]
    assert done.returncode == 0, done.stderr[-3_000:]
    assert lines, done.stderr[-3_000:]
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
