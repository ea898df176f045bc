"""What rendering a template takes, beside plain Jinja2 in the same run.

    python -m benchmarks.templates [--rounds 2000] [--concurrency 100]

`in place` is a substitution, `process` a template that computes. `loop hold` is the longest time that another task of
the event loop waits for its turn while all of `--concurrency` are rendered.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import jinja2

from plexus_scoring.engines.portable.templates import Template
from plexus_scoring.engines.portable.templates.pool import POOL

TEXT = (
    "Agent: Thank you for calling, this is Marisol. "
    "Customer: I want to cancel, the line was down three times. "
) * 42
VALUES = {
    "text": TEXT,
    "metadata": {"agent": {"name": "Marisol"}, "schools": [{"id": f"s{n}"} for n in range(5)]},
    "results": {"Greeting": {"value": "Yes", "explanation": "because"}},
}
PLAIN = "Judge {{text}} by {{metadata.agent.name}}, after {{results['Greeting'].value}}."
COMPUTED = (
    "Judge {{text|trim}} {% for s in metadata.schools %}{{s.id|upper}} {% endfor %}"
    "{% if results['Greeting'].value == 'Yes' %}{{metadata.agent.name}}{% endif %}"
)


def microseconds(action: Callable[[], object], rounds: int) -> float:
    """Return the median."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


async def awaited(action: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median, in microseconds."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


async def longest_hold(template: Template, concurrency: int) -> float:
    """Return the longest wait for a turn of the event loop, in milliseconds."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - begun)

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    await asyncio.gather(*(template.render(VALUES, missing="empty") for _ in range(concurrency)))
    task.cancel()
    return longest * 1000


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--concurrency", type=int, default=100)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    for name, source in (("in place", PLAIN), ("process", COMPUTED)):
        peer = jinja2.Environment(undefined=jinja2.ChainableUndefined).from_string(source)
        template = Template(source)

        async def ours(template: Template = template) -> str:
            return await template.render(VALUES, missing="empty")

        begun = time.perf_counter()
        assert await ours() == peer.render(VALUES)
        first = (time.perf_counter() - begun) * 1000
        bare = microseconds(lambda peer=peer: peer.render(VALUES), rounds)
        warm = await awaited(ours, rounds)
        hold = max([await longest_hold(template, arguments.concurrency) for _ in range(5)])
        print(
            f"{name}: p50 {warm:.0f} µs, plain Jinja2 {bare:.0f} µs ({warm / bare:.1f} times, {warm - bare:+.0f} µs); "
            f"first {first:.1f} ms; longest loop hold of {arguments.concurrency} at once {hold:.1f} ms"
        )
    parse = microseconds(lambda: Template(COMPUTED), rounds // 10)
    bare = microseconds(lambda: jinja2.Environment().from_string(COMPUTED), rounds // 10)
    print(
        f"parsing: {parse:.0f} µs, plain Jinja2's compiling {bare:.0f} µs ({parse / bare:.2f} times)"
    )
    POOL.close()


if __name__ == "__main__":
    asyncio.run(main())
