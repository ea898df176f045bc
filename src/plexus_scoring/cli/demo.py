"""`plexus-scoring demo`: see it work."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from plexus_scoring.cli.command import Command, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    console,
    print_fields,
    print_json,
    print_table,
)
from plexus_scoring.model.errors import shorten

if TYPE_CHECKING:
    from plexus_scoring.local.demo.run import DemoRun


_REASON_CHARACTERS = 64
_ROOM_FOR_BAR = 84  # columns
_NARROW = 100  # columns of a terminal that has no room for the reasons beside the rest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", cls=Command)(demo)


def demo(
    *,
    report: Annotated[
        Path, typer.Option(metavar="PATH", help="Where the HTML report goes.")
    ] = Path(".demo/report.html"),
    logs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the function's and the embedded AWS's logs here."),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Send real jobs through the whole Lambda path on this machine; prove that none is lost or duplicated.

    Exits with 1 if one was.
    """
    from plexus_scoring.local.demo.report import write_report  # noqa: PLC0415  the service, boto3
    from plexus_scoring.local.demo.run import run_demo  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="plexus-demo-") as scratch, _Bar() as bar:
        result = run_demo(logs or Path(scratch), bar)
    write_report(result, report)
    if output_format is Format.JSON:
        print_json(result.audit.counts)
    else:
        _show(result, report)
    stop(Exit.OK if result.audit.sound else Exit.PROBLEM)


class _Bar(AbstractContextManager["_Bar"]):
    """A progress bar on stderr, which leaves stdout to the outcome."""

    def __init__(self) -> None:
        from rich.progress import (  # noqa: PLC0415  see `output.console`
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        out = console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=32 if out.width >= _ROOM_FOR_BAR else 8),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
        )
        self._task: Any = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()

    def stage(self, text: str, total: int | None = None) -> None:
        """Begin a stage."""
        self._finish()
        self._task = self._progress.add_task(text, total=total or 1)

    def step(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)

    def _finish(self) -> None:
        if self._task is not None:
            total = self._progress.tasks[-1].total
            self._progress.update(self._task, completed=total)


def _show(run: DemoRun, report: Path) -> None:
    from rich.text import Text  # noqa: PLC0415  see `output.console`

    counts = run.audit.counts
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in run.audit.rows:
        groups.setdefault((row.mishap.value, row.fate), []).append(row)
    out = console()
    narrow = out.width < _NARROW
    headers: tuple[str, ...] = (
        "what went in",
        "n",
        "what came out",
        "attempts",
        "responses",
        "reason",
    )
    cells: list[tuple[str, ...]] = [
        (
            mishap,
            str(len(rows)),
            fate.replace("_", "-"),
            str(max(row.attempts for row in rows) or ""),
            str(sum(row.responses for row in rows) or ""),
            _reasons(rows),
        )
        for (mishap, fate), rows in groups.items()
    ]
    if narrow:  # the reason below what it is about
        headers = headers[:4]
        cells = [(f"{what}\n{reason}".strip(), *more[:3]) for what, *more, reason in cells]
    folded = ("what went in", "reason")
    print_table(headers, cells, unbroken=("what came out",), folded=folded, drawn=True)
    totals = [
        ("submitted", counts.submitted),
        ("completed", counts.completed),
        ("failed", counts.failed),
        ("dead-lettered", counts.dead_lettered),
        ("retries", counts.retries),
        ("lost", counts.lost),
        ("duplicated", counts.duplicated),
    ]
    if narrow:
        print_fields(totals)
    else:
        print_table([name for name, _ in totals], [[total for _, total in totals]], drawn=True)
    for problem in run.audit.problems:
        out.print(Text(f"✗ {problem}", "red"))
    if run.audit.sound:
        verdict = "✓ Nothing lost, nothing duplicated: one result and one answer for each job."
        out.print(Text(verdict, "green"))
    if not run.real_model:
        note = "The Empathy scores came from a stand-in: set OPENAI_API_KEY to ask a real model."
        out.print(Text(note, "dim"))
    out.print(Text(f"Deployed in {run.start_seconds:.1f} s, worked {run.work_seconds:.1f} s."))
    out.print(Text(f"Report: {report}"))


def _reasons(rows: list[Any]) -> str:
    reasons = (shorten(row.reason, _REASON_CHARACTERS) for row in rows if row.reason)
    return "\n".join(dict.fromkeys(reasons))
