"""`plexus-scoring submit`: create jobs and put them on the queue."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plexus_scoring.cli.command import AccountOption, Command, load_settings, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.inputs import read_item, read_metadata, read_scorecard, read_stdin_once
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    console,
    print_error,
    print_json,
    print_table,
)
from plexus_scoring.cli.queue import NOT_QUEUED, check_queue, enqueue
from plexus_scoring.cli.views import job_view, result_view
from plexus_scoring.cli.worker import TransportOption
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.model.scorecard import folded

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application

_POLL_SECONDS = 0.25
_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit", cls=Command)(submit)


def submit(
    *,
    scorecard: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="Stored scorecard; a .yaml file is stored on the way."
        ),
    ],
    score: Annotated[str, typer.Option(metavar="NAME", help="Name, key or id of the score.")],
    item: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|-", help="Text or .json item; repeat it to submit several jobs."
        ),
    ] = None,
    item_id: Annotated[
        list[str] | None,
        typer.Option("--item-id", metavar="ID", help="A stored item, in place of --item."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="FILE|JSON", help="Metadata, laid over each item's own.")
    ] = None,
    job_id: Annotated[
        str | None,
        typer.Option("--id", help="Id of the one job; the same id twice is the same job."),
    ] = None,
    account: AccountOption = None,
    transport: TransportOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also if scorecard, score or queue do not exist; the queue is created."
        ),
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Wait for the results, at most so long."),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Submit scoring jobs; with --wait, exits with 4 if one failed or did not end in time."""
    settings = load_settings()
    read_stdin_once(*(item or ()))
    items = [
        read_item(file, max_bytes=settings.max_item_bytes, metadata=read_metadata(metadata))
        for file in item or ()
    ]
    count = len(items) + len(item_id or ())
    if not count:
        raise InvalidRequest("nothing to submit: give --item FILE or --item-id ID")
    if job_id is not None and count > 1:
        raise InvalidRequest("--id names one job, but there are several items")
    if job_id is not None and not job_id.strip():
        raise InvalidRequest("--id is empty: give the job's id, or leave it out for a new one")
    ids = [job_id] if job_id is not None else [str(uuid.uuid4()) for _ in range(count)]
    subjects: list[Item | str] = [*items, *(item_id or ())]

    async def work() -> tuple[list[ScoringJob], bool, list[ScoreResult | None]]:
        from plexus_scoring.bootstrap import open_application  # noqa: PLC0415  stores, clients

        async with open_application(settings) as app:
            reference = await _stored_scorecard(app, scorecard)
            if not force:
                await _check(app, reference, score, account or settings.account)
                await check_queue(app, transport=transport)
            jobs = [
                await app.jobs.create(
                    NewJob(
                        id=new_id,
                        request_id=new_id,
                        scorecard=reference,
                        score=score,
                        item=subject if isinstance(subject, Item) else None,
                        item_id=subject.id if isinstance(subject, Item) else subject,
                        account=account or settings.account,
                    )
                )
                for new_id, subject in zip(ids, subjects, strict=True)
            ]
            queued = await enqueue(app, jobs, transport=transport)
            if wait is None:
                return jobs, queued, []
            jobs, results = await _results(app, jobs, until=time.monotonic() + wait)
            return jobs, queued, results

    jobs, queued, results = run(work())
    _show(jobs, results, queued=queued, output_format=output_format)
    if wait is not None and any(job.status is not JobStatus.COMPLETED for job in jobs):
        stop(Exit.FAILED)


async def _stored_scorecard(app: Application, reference: str) -> str:
    """Return what jobs call the scorecard; a file's is stored first."""
    if Path(reference).suffix.lower() not in (".yaml", ".yml"):
        return reference
    card = read_scorecard(reference)
    await app.catalog.put_scorecard(card)
    return card.id


async def _check(app: Application, reference: str, score: str, account: str) -> None:
    """Raise NotFound unless the scorecard is there and has the score."""
    card = await app.catalog.scorecard(reference, account=account)
    wanted = folded(score)
    known = [
        name for each in card.scores for name in (each.name, each.key, each.id, each.external_id)
    ]
    if card.scores and wanted not in {folded(name) for name in known if name}:
        names = ", ".join(each.name for each in card.scores)
        raise NotFound(f"no score {score!r} on the scorecard {card.name!r}; it has {names}")


async def _results(
    app: Application, jobs: list[ScoringJob], *, until: float
) -> tuple[list[ScoringJob], list[ScoreResult | None]]:
    """Look at the jobs until all have ended or the time is up."""
    while True:
        found = [await app.jobs.get(job.key) or job for job in jobs]
        if all(job.status in _ENDED for job in found) or time.monotonic() > until:
            break
        await asyncio.sleep(_POLL_SECONDS)
    results = [
        None if job.result_id is None else await app.jobs.result(job.result_id, account=job.account)
        for job in found
    ]
    return found, results


def _show(
    jobs: list[ScoringJob],
    results: list[ScoreResult | None],
    *,
    queued: bool,
    output_format: Format,
) -> None:
    if not queued:
        print_error(ErrorInfo(code="not_queued", message=NOT_QUEUED))
    if output_format is Format.JSON:
        document: dict[str, Any] = {"queued": queued, "jobs": [job_view(job) for job in jobs]}
        if results:
            document["results"] = [result_view(one) if one else None for one in results]
        print_json(document)
        return
    if not results:
        for job in jobs:
            console().print(job.id, markup=False)
        return
    print_table(
        ("job", "item", "status", "value", "explanation"),
        (
            (
                job.id,
                job.item_id,
                job.status.value,
                result.value if result else None,
                result.explanation if result else job.last_error and job.last_error.message,
            )
            for job, result in zip(jobs, results, strict=True)
        ),
        folded=("explanation",),
    )
