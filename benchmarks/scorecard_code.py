"""What a call of scorecard code costs in the interpreter, beside the same function in plain Python.

    python -m benchmarks.scorecard_code [--calls 400] [--rounds 5]

Rounds of both are interleaved, so that a machine that slows down slows both. The input is 4.5 KB of text and metadata.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

from plexus_scoring.engines.portable.code import CodePlace, Interpreter, function_of

CODE = """
import re

def score(parameters, input):
    text = input.text.lower()
    count = text.count("billing")
    asked = re.search(r"refund|credit", text)
    found = count > 2 and asked is None
    return Score.Result(value="Yes" if found else "No", metadata={"explanation": f"{count} times"})
"""
GIVEN = {
    "parameters": {"name": "Tone"},
    "text": "Customer: I have a billing problem, please help me. " * 88,
    "metadata": {
        "channel": "phone",
        "results": [{"name": "A", "value": "Yes"}] * 5,
        "seconds": 312,
    },
}
BUDGET_MS = 0.4
HOLD_BUDGET_MS = 20.0


class Result:
    """Any fields."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


class Score:
    """What the code knows."""

    Result = Result


async def plain() -> None:
    """Call the function as it is."""
    given = Result(text=GIVEN["text"], metadata=dict(GIVEN["metadata"]))
    NAMES["score"](Result(**GIVEN["parameters"]), given)


NAMES: dict = {"Score": Score}
exec(CODE, NAMES)


async def timed(call: Any) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def longest_hold(function: Any, calls: int) -> float:
    """Return the longest time that the event loop did not turn while many calls were under way."""
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(function(GIVEN) for _ in range(calls)))
    done = True
    await watching
    return longest


async def measure(calls: int, rounds: int) -> None:
    """Print the figures."""
    began = time.perf_counter()
    interpreter = Interpreter()
    function = function_of(CODE, "score", place=CodePlace("Tone"), interpreter=interpreter)
    await function(GIVEN)
    first = time.perf_counter() - began
    try:
        trusted = function_of(CODE, "score", place=CodePlace("Tone"), interpreter=None)
        ways = {
            "plain Python, bare": plain,
            "plain Python, trusted": lambda: trusted(GIVEN),
            "interpreter": lambda: function(GIVEN),
        }
        medians: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            times: dict[str, list[float]] = {name: [] for name in ways}
            for name, way in ways.items():
                times[name] = [await timed(way) for _ in range(calls)]
            for name, found in times.items():
                medians[name].append(statistics.median(found) * 1000)
        hold = min([await longest_hold(function, 100) for _ in range(rounds)])
        began = time.perf_counter()
        await asyncio.gather(*(function(GIVEN) for _ in range(calls)))
        rate = calls / (time.perf_counter() - began)
    finally:
        await interpreter.aclose()
    for name, found in medians.items():
        print(f"{name + ', p50':<36} {statistics.median(found):6.3f} ms")
    bare, _, monty = medians.values()
    more = statistics.median(one - other for one, other in zip(monty, bare, strict=True))
    verdict = "ok" if more <= BUDGET_MS else "OVER"
    print(f"  more than bare, at most {BUDGET_MS} ms       {more:6.3f} ms   {verdict}")
    print(f"first call, with the client's import {first * 1000:6.1f} ms")
    print(f"calls at once, {calls}                   {rate:6.0f} /s")
    verdict = "ok" if hold * 1000 <= HOLD_BUDGET_MS else "OVER"
    print(f"event loop held, 100 calls at once   {hold * 1000:6.1f} ms   {verdict}")
    print(
        f"  (at most {HOLD_BUDGET_MS:g} ms, best of {rounds}: another process may take the core away)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.calls, arguments.rounds))
