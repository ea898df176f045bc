"""How much of a bare client loop's rate is left behind the router: 500 calls at once on a model that takes 1 s.

    python benchmarks/models.py [--calls 1000] [--concurrency 500] [--delay 1.0] [--rounds 3]

The bare side is the openai SDK, against the same scripted server (a process of its own), in turns; the ratio of their
medians is what counts. The bare side is the SDK as its documentation shows it, with retries off and as many
connections as it needs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import openai

from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Was there a greeting? " + "Agent: Hello, thanks for calling. " * 20


async def _rate(call: Callable[[], Awaitable[object]], calls: int, concurrency: int) -> float:
    """Return calls per second with `concurrency` callers."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return calls / (time.perf_counter() - begun)


async def _bare(base_url: str, calls: int, concurrency: int) -> tuple[float, float]:
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=2_000, max_keepalive_connections=1_000, keepalive_expiry=60
    )
    http = openai.DefaultAsyncHttpxClient(limits=limits)
    async with openai.AsyncOpenAI(
        api_key="x", base_url=base_url, max_retries=0, timeout=120, http_client=http
    ) as client:

        async def call() -> object:
            return await client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": PROMPT}],
                temperature=0.0,
                max_completion_tokens=500,
            )

        return await _measured(call, calls, concurrency)


async def _routed(base_url: str, calls: int, concurrency: int) -> tuple[float, float]:
    router = ModelRouter(ModelSettings(environ={"OPENAI_BASE_URL": base_url}))
    request = ChatRequest(
        provider="ChatOpenAI",
        model="gpt-4o-mini",
        messages=(ChatMessage("user", PROMPT),),
        temperature=0.0,
        max_tokens=500,
    )

    async def call() -> object:
        return await router.chat(request, deadline=time.time() + 300)

    try:
        return await _measured(call, calls, concurrency)
    finally:
        await router.aclose()


async def _measured(
    call: Callable[[], Awaitable[object]], calls: int, concurrency: int
) -> tuple[float, float]:
    """Return calls per second and CPU milliseconds a call, after a first call that opens what opens once."""
    await call()
    cpu = time.process_time()
    rate = await _rate(call, calls, concurrency)
    return rate, (time.process_time() - cpu) / calls * 1_000


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--concurrency", type=int, default=500)
    parser.add_argument("--delay", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rules = {"rules": [{"when": "", "replies": [{"text": "Yes", "delay": options.delay}]}]}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.chat_server", json.dumps(rules)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            base_url = server.stdout.readline().strip()
            sides: dict[str, list[tuple[float, float]]] = {"bare": [], "router": []}
            for _ in range(options.rounds):
                for name, side in (("bare", _bare), ("router", _routed)):
                    figures = asyncio.run(side(base_url, options.calls, options.concurrency))
                    sides[name].append(figures)
        finally:
            server.terminate()
    rates = {name: statistics.median(rate for rate, _ in runs) for name, runs in sides.items()}
    cpu = {name: statistics.median(ms for _, ms in runs) for name, runs in sides.items()}
    for name in sides:
        print(f"{name:7} {rates[name]:7.1f} calls/s   {cpu[name]:5.2f} ms CPU a call")
    print(f"router / bare: rate {rates['router'] / rates['bare']:.2f}   (target ≥ 0.80)")
    print(f"router / bare: CPU  {cpu['router'] / cpu['bare']:.2f}")


if __name__ == "__main__":
    main()
