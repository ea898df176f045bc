"""What the portable engine takes, beside Plexus 1.50.1 and beside a bare client loop.

    python benchmarks/engine.py [--rounds 3] [--concurrency 500] [--quick]

Plexus's side is not run here (its packages are 640 MB): its figures below were recorded on the same machine type (2
cores) by running it unmodified, without its GraphQL and AWS calls. Ratios within one machine type are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import openai

from plexus_scoring.engines.models.base import ChatReply, ChatRequest
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.engines.portable.processors import PROCESSORS, apply_processors
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext

ROOT = pathlib.Path(__file__).resolve().parent.parent
UPSTREAM_FIRST_SECONDS = 12.0  # idle machine; 32 s and more while others use it
UPSTREAM_WARM_CPU_MS = 233.0  # five Classifiers, instant replies over HTTP
UPSTREAM_MEMORY_MB = 495.0

TEXT = (
    "Agent: Thank you for calling, this is Marisol. "
    "Customer: I want to cancel, the line was down three times. "
) * 20

DETERMINISTIC = """
name: Card
scores:
- name: Mentions
  class: LangGraphScore
  graph:
  - name: mentions
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          found = 'cancel' in input.text.lower()
          return Score.Result(parameters=parameters, value='Yes' if found else 'No', metadata={})
  output: {value: classification}
"""

FIRST = """
import asyncio, resource, sys
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext

async def main():
    card = load_scorecard(sys.argv[1])
    context = ScoreContext(item=Item(id="1", text=sys.argv[2]), scorecard=card, score="Mentions")
    assert (await PortableEngine(ModelRouter()).score(context)).value == "Yes"
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

asyncio.run(main())
"""


class Instant:
    """A model in this process that answers at once."""

    async def chat(self, request: ChatRequest, *, deadline: float | None = None) -> ChatReply:  # noqa: ARG002
        """Answer."""
        return ChatReply(text="Yes", model=request.model, prompt_tokens=100, completion_tokens=1)

    async def aclose(self) -> None:
        """Do nothing."""


def graph_of(count: int) -> str:
    """Return a scorecard whose one score asks a model `count` times."""
    nodes = [
        {
            "name": f"n{number}",
            "class": "Classifier",
            "valid_classes": ["Yes", "No"],
            "system_message": "Judge.",
            "user_message": f"Question {number} {{{{text}}}} {{{{metadata.agent}}}}",
        }
        for number in range(count)
    ]
    score = {
        "name": "Graph",
        "class": "LangGraphScore",
        "model_provider": "ChatOpenAI",
        "model_name": "gpt-4o-mini",
        "graph": nodes,
        "output": {"value": "classification", "explanation": "explanation"},
    }
    return json.dumps({"name": "Card", "scores": [score]})


def context_of(text: str) -> ScoreContext:
    """Return the job that asks for the one score."""
    item = Item(id="1", text=TEXT, metadata={"agent": "Marisol"})
    return ScoreContext(item=item, scorecard=load_scorecard(text), score="Graph")


@contextmanager
def model_server(delay: float) -> Iterator[str]:
    """Run the scripted model in a process of its own; give its base URL."""
    rules = {"rules": [{"when": "", "replies": [{"text": "Yes", "delay": delay}]}]}
    command = [sys.executable, "-m", "tests.support.chat_server", json.dumps(rules)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@asynccontextmanager
async def engine_at(base_url: str) -> AsyncIterator[PortableEngine]:
    """Give an engine whose models are at `base_url`."""
    environ = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "x"}
    engine = PortableEngine(ModelRouter(ModelSettings(environ=environ)))
    try:
        yield engine
    finally:
        await engine.aclose()


def first_score(rounds: int) -> tuple[float, float, float]:
    """Return wall and CPU seconds of a process that makes one deterministic score, and its peak memory in MB."""
    seconds, cpu, memory = [], [], []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        command = [sys.executable, "-c", FIRST, DETERMINISTIC, TEXT]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        memory.append(float(done.stdout))
    return statistics.median(seconds), statistics.median(cpu), statistics.median(memory)


async def warm_cpu(base_url: str, scores: int) -> float:
    """Return CPU milliseconds of a warm score of five nodes, the client library's included."""
    context = context_of(graph_of(5))
    async with engine_at(base_url) as engine:
        await engine.score(context)
        begun = time.process_time()
        for _ in range(scores):
            await engine.score(context)
        return (time.process_time() - begun) / scores * 1_000


async def overhead(scores: int) -> float:
    """Return milliseconds that the engine itself takes for a node that asks a model."""
    nodes = 50
    engine, context = PortableEngine(Instant()), context_of(graph_of(nodes))
    await engine.score(context)
    begun = time.process_time()
    for _ in range(scores):
        await engine.score(context)
    return (time.process_time() - begun) / scores / nodes * 1_000


async def engine_rate(base_url: str, concurrency: int, calls: int) -> float:
    """Return scores per second."""
    context = context_of(graph_of(1))
    async with engine_at(base_url) as engine:
        await engine.score(context)
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await engine.score(context)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(concurrency)))
        return calls / (time.perf_counter() - begun)


async def bare_rate(base_url: str, concurrency: int, calls: int) -> float:
    """Return calls per second of the client library alone."""
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=2_000, max_keepalive_connections=1_000, keepalive_expiry=60
    )
    http = openai.DefaultAsyncHttpxClient(limits=limits)
    async with openai.AsyncOpenAI(
        api_key="x", base_url=base_url, max_retries=0, http_client=http
    ) as client:

        async def ask() -> None:
            await client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[
                    {"role": "system", "content": "Judge."},
                    {"role": "user", "content": f"Question 0 {TEXT} Marisol"},
                ],
                temperature=0.0,
                max_completion_tokens=500,
            )

        await ask()
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await ask()

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(concurrency)))
        return calls / (time.perf_counter() - begun)


def processor_times() -> dict[str, float]:
    """Return how many times as long all processors take on a transcript of 1 MB as on one of 250 KB (linear: 4)."""
    grown = {}
    for name in sorted(PROCESSORS):
        if name.startswith("Deepgram"):
            continue
        parameters = {"keywords": ["cancel"]} if name.startswith("Relevant") else {}
        spent = []
        for size in (250_000, 1_000_000):
            lines = "Agent: I'm sorry it's down.\nCustomer: I don't want it, cancel it!\n"
            text = lines * (size // len(lines))
            begun = time.process_time()
            apply_processors([{"class": name, "parameters": parameters}], text, {})
            spent.append(time.process_time() - begun)
        grown[name] = spent[1] / max(spent[0], 1e-6)
    return grown


def main() -> None:
    """Print every figure with its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="One round, fewer calls.")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    seconds, cpu_seconds, memory = first_score(max(rounds, 3))
    print(
        f"first deterministic score, fresh process: {seconds:.3f} s, {cpu_seconds:.3f} s CPU",
        end="",
    )
    print(
        f"   Plexus / ours {UPSTREAM_FIRST_SECONDS / seconds:.0f} (target ≥ 20, on an idle machine)"
    )
    print(f"peak memory after it: {memory:.0f} MB", end="")
    print(f"   ours / Plexus {memory / UPSTREAM_MEMORY_MB:.2f} (target ≤ 0.20)")
    with model_server(0.0) as base_url:
        cpu = min(asyncio.run(warm_cpu(base_url, 60)) for _ in range(rounds))
    print(f"warm score of 5 nodes, instant replies over HTTP: {cpu:.1f} ms CPU", end="")
    print(f"   ours / Plexus 1/{UPSTREAM_WARM_CPU_MS / cpu:.0f} (target ≤ 1/20)")
    node = min(asyncio.run(overhead(20)) for _ in range(rounds))
    print(f"engine's own share of a node: {node:.3f} ms (target ≤ 0.3)")
    ratios = []
    with model_server(1.0) as base_url:
        calls = options.concurrency * (2 if options.quick else 4)
        for _ in range(rounds):
            bare = asyncio.run(bare_rate(base_url, options.concurrency, calls))
            ours = asyncio.run(engine_rate(base_url, options.concurrency, calls))
            ratios.append(ours / bare)
            print(f"  {options.concurrency} at once, 1 s model: {ours:.0f}/s, bare {bare:.0f}/s")
    print(f"rate, ours / bare client: {statistics.median(ratios):.2f} (target ≥ 0.80)")
    for name, growth in processor_times().items():
        print(f"1 MB / 250 KB, {name}: {growth:.1f} times (linear: 4)")
    print(f"peak memory of this process: {_peak():.0f} MB")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
