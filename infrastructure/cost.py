"""``make cost``: what a stage costs in a month, by formulas over the list prices of ``config/prices.toml``.

Needs Python alone. ``docs/cost.md`` holds what this prints; a test keeps it so.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PRICES = Path(__file__).with_name("config") / "prices.toml"
JOBS = (10_000, 1_000_000, 100_000_000)
HOURS = 730.0  # of a month, as AWS counts
SECONDS = HOURS * 3600
GB = 1e9
SHOWN_PER_MILLION = 1e-4  # prices below this, in USD

Prices = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Load:
    """A month's work.

    Attributes:
        jobs: Number of jobs.
        batch: Jobs of one invocation.
        seconds: Share of a job in an invocation's time.
        memory_gb: Memory of the function.
        pollers: Long polls of the event source at a time while the queue is empty (20 s each).
        write_units: DynamoDB write units of a job. Its row is 2.8 KB and its result 1.3 KB. Claim: row 3, two index
            entries 2. Completion, in a transaction (twice the units): row 6, result 4, index entries 4.
        read_units: DynamoDB read units of a job: look for a reusable result 0.5, an item of up to 8 KB 2.
        row_bytes: Row, result and index entries of a job.
        objects: Objects written for a job (trace and log).
        object_bytes: Size of both together.
        log_bytes: Log lines and metrics of a job.
        metrics: Series that the service writes: its counters, and jobs by outcome.
        alarms: Number of alarms.
        sweeps: Runs of the sweeper (every five minutes), of one second and 512 MB each.
        image_gb: Images in the registry.
    """

    jobs: int
    batch: int = 10
    seconds: float = 0.25
    memory_gb: float = 2.0
    pollers: int = 5
    write_units: float = 19.0
    read_units: float = 2.5
    row_bytes: float = 5_000
    objects: int = 2
    object_bytes: float = 10_000
    log_bytes: float = 1_000
    metrics: int = 18
    alarms: int = 10
    sweeps: float = SECONDS / 300
    image_gb: float = 5.0

    @property
    def invocations(self) -> float:
        """Return the invocations of the scoring function."""
        return self.jobs / self.batch

    @property
    def sqs_requests(self) -> float:
        """Return requests to queues: send and answer per job, receive and delete per batch, and empty long polls."""
        return self.jobs * (2 + 2 / self.batch) + self.pollers * SECONDS / 20

    @property
    def traces(self) -> float:
        """Return X-Ray's samples: the first invocation of each second, and 5 % of the rest."""
        first = min(self.invocations, SECONDS)
        return first + 0.05 * (self.invocations - first)


@dataclass(frozen=True)
class Part:
    """A line of the bill: what it is called, how it is computed, in words and in code."""

    name: str
    formula: str
    usd: Callable[[Load, Prices], float]


PARTS = (
    Part(
        "Lambda compute",
        "*J · t · m* GB-s, and the sweeper's",
        lambda w, p: (w.jobs * w.seconds * w.memory_gb + w.sweeps * 0.5) * p["lambda_gb_second"],
    ),
    Part(
        "Lambda requests",
        "*J / b*, and the sweeper's",
        lambda w, p: (
            (w.invocations + w.sweeps) * p["lambda_request"] + w.sweeps * p["schedule_invocation"]
        ),
    ),
    Part(
        "SQS",
        "*J* · (2 + 2/*b*): send, answer; receive/*b*, delete/*b*. Idle: 5 long polls of 20 s at a time",
        lambda w, p: w.sqs_requests * p["sqs_request"],
    ),
    Part(
        "DynamoDB writes",
        "19 *J* units: claim 3 + 2 index entries; completion in a transaction 6 + 4 + 4 index entries",
        lambda w, p: w.jobs * w.write_units * p["dynamodb_write_unit"],
    ),
    Part(
        "DynamoDB reads",
        "2.5 *J* units: reusable result 0.5, item 2",
        lambda w, p: w.jobs * w.read_units * p["dynamodb_read_unit"],
    ),
    Part(
        "DynamoDB storage",
        "*J* · 5 KB, with point-in-time recovery",
        lambda w, p: (
            w.jobs * w.row_bytes / GB * (p["dynamodb_gb_month"] + p["dynamodb_recovery_gb_month"])
        ),
    ),
    Part(
        "S3",
        "2 *J* puts; *J* · 10 KB",
        lambda w, p: w.jobs * (w.objects * p["s3_put"] + w.object_bytes / GB * p["s3_gb_month"]),
    ),
    Part(
        "CloudWatch",
        "*J* · 1 KB of logs; 18 metrics; 10 alarms; 1 dashboard",
        lambda w, p: (
            w.jobs * w.log_bytes / GB * p["logs_gb"]
            + w.metrics * p["metric_month"]
            + w.alarms * p["alarm_month"]
            + p["dashboard_month"]
        ),
    ),
    Part(
        "X-Ray",
        "the first invocation of each second, 5 % of the rest",
        lambda w, p: w.traces * p["trace"],
    ),
    Part(
        "fixed",
        "key, secret, 5 GB of images",
        lambda w, p: p["key_month"] + p["secret_month"] + w.image_gb * p["registry_gb_month"],
    ),
)


def prices(path: Path = PRICES) -> dict[str, float]:
    """Return each price in USD."""
    return {name: float(entry["usd"]) for name, entry in read(path).items()}


def read(path: Path = PRICES) -> dict[str, dict[str, str | float]]:
    """Return each price as the file has it: ``usd`` and, where someone saw it, ``seen``."""
    return tomllib.loads(path.read_text())


def bill(load: Load, given: Prices) -> dict[str, float]:
    """Return each part's USD of a month."""
    return {part.name: part.usd(load, given) for part in PARTS}


def table(jobs: Sequence[int], given: Prices) -> str:
    """Return formulas and bills as a Markdown table."""
    bills = [bill(Load(jobs=number), given) for number in jobs]
    heads = "".join(f" {_short(number)} jobs |" for number in jobs)
    lines = [f"| USD a month | formula |{heads}", f"|---|---|{'---:|' * len(jobs)}"]
    for part in PARTS:
        cells = "".join(f" {one[part.name]:,.2f} |" for one in bills)
        lines.append(f"| {part.name} | {part.formula} |{cells}")
    sums = "".join(f" **{sum(one.values()):,.2f}** |" for one in bills)
    lines.append(f"| **sum** | |{sums}")
    return "\n".join(lines)


def price_table(path: Path = PRICES) -> str:
    """Return the prices as a Markdown table, with the page where each was seen."""
    lines = ["| price | USD | seen at |", "|---|---:|---|"]
    for name, entry in read(path).items():
        lines.append(
            f"| {name.replace('_', ' ')} | {_plain(float(entry['usd']))} "
            f"| {entry.get('seen', 'checked by none')} |"
        )
    return "\n".join(lines)


def optional_parts(given: Prices) -> str:
    """Return what the optional parts cost, in one paragraph."""
    task = HOURS * (0.5 * given["fargate_vcpu_hour"] + given["fargate_gb_hour"])
    return (
        f"A run of a pipeline of 30 minutes: {30 * (given['pipeline_minute'] + given['build_minute']):.2f} USD. "
        f"The optional ECS services, a month: NAT gateway {HOURS * given['nat_gateway_hour']:.0f}, "
        f"load balancer {HOURS * given['load_balancer_hour']:.0f} and its traffic, "
        f"each task of 0.5 vCPU and 1 GB {task:.0f} USD."
    )


def _short(number: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size} {letter}"
    return str(number)


def _plain(value: float) -> str:
    if value < SHOWN_PER_MILLION:
        return f"{value * 1e6:.4g} per million"
    return f"{value:.6g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit status."""
    parser = argparse.ArgumentParser(prog="make cost", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(JOBS))
    parser.add_argument("--prices", type=Path, default=PRICES)
    options = parser.parse_args(arguments)
    given = prices(options.prices)
    parts = table(options.jobs, given), optional_parts(given), price_table(options.prices)
    sys.stdout.write("\n\n".join(parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
