"""The demo's report: one HTML file that needs nothing from outside."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from plexus_scoring.local.demo import charts
from plexus_scoring.local.demo.plan import Mishap
from plexus_scoring.local.demo.run import DemoRun

_TEMPLATE = "report.html.j2"
_LEAST_JOBS = 3  # a bar of one or two jobs says nothing


def write_report(run: DemoRun, path: Path) -> None:
    """Write the report to `path`; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(run), encoding="utf-8")


def render(run: DemoRun) -> str:
    """Return the report."""
    import jinja2  # noqa: PLC0415  40 ms that a run without a report need not pay
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    template = (Path(__file__).parent / _TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    counts = run.audit.counts
    return environment.from_string(template).render(
        counts=counts,
        sound=run.audit.sound,
        problems=run.audit.problems,
        rows=run.audit.rows,
        mishaps=sorted(
            (row for row in run.audit.rows if row.mishap is not Mishap.NONE),
            key=lambda row: list(Mishap).index(row.mishap),
        ),
        began=datetime.fromtimestamp(run.began_at, UTC).strftime("%d %B %Y, %H:%M UTC"),
        tiles=[
            ("submitted", counts.submitted, False),
            ("completed", counts.completed, False),
            ("failed, skipped", counts.failed, False),
            ("dead-lettered", counts.dead_lettered, False),
            ("retries", counts.retries, False),
            ("lost", counts.lost, counts.lost > 0),
            ("duplicated", counts.duplicated, counts.duplicated > 0),
            ("jobs a second", f"{counts.completed / run.work_seconds:.1f}", False),
        ],
        # A phone has no room for the charts' bars: it gets their figures.
        values=[(label, counted.most_common()) for label, counted in _values(run)],
        costs=_costs(run),
        # The charts escape what they show; their markup is ours.
        values_chart=Markup(charts.stacked_bars(_values(run))),  # noqa: S704
        latency_chart=Markup(charts.histogram(_milliseconds(run))),  # noqa: S704
        progress_chart=Markup(charts.cumulative(_moments(run))),  # noqa: S704
        cost_chart=Markup(charts.cost_bars(_costs(run))),  # noqa: S704
        cost_note=_cost_note(run),
        footer=(
            f"plexus-scoring {version('plexus-scoring')}, Python {platform.python_version()}. "
            f"Deployed in {run.start_seconds:.1f} s, worked {run.work_seconds:.1f} s in {run.processes} "
            "processes of the function."
        ),
    )


def _values(run: DemoRun) -> list[tuple[str, Counter[str]]]:
    found: dict[str, Counter[str]] = {}
    for row in run.audit.rows:
        if row.value is not None:
            kind = "Call" if row.scorecard.startswith("call") else "Essay"
            found.setdefault(f"{kind}: {row.score}", Counter())[row.value] += 1
    return [
        (label, counts)
        for label, counts in sorted(found.items())
        if sum(counts.values()) >= _LEAST_JOBS
    ]


def _milliseconds(run: DemoRun) -> list[float]:
    return [row.seconds * 1000 for row in run.audit.rows if row.seconds is not None]


def _moments(run: DemoRun) -> list[float]:
    ended = [row for row in run.audit.rows if row.completed_at is not None]
    first = min((row.started_at or row.completed_at or 0.0 for row in ended), default=0.0)
    return [(row.completed_at or first) - first for row in ended]


def _costs(run: DemoRun) -> list[tuple[str, float, int]]:
    asked = [row for row in run.audit.rows if row.tokens]
    asked.sort(key=lambda row: -row.cost)
    return [(row.item, row.cost, row.tokens) for row in asked]


def _cost_note(run: DemoRun) -> str:
    total = sum(row.cost for row in run.audit.rows)
    asked = sum(1 for row in run.audit.rows if row.tokens)
    sum_line = (
        f"{asked} jobs asked a language model, for ${total:.6f} in all; the others cost nothing."
    )
    if run.real_model:
        return sum_line
    return (
        f"{sum_line} No OPENAI_API_KEY or OPENAI_BASE_URL was set, so a stand-in answered: its tokens are words, "
        "at the list price of gpt-4o-mini."
    )
