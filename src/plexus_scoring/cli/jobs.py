"""`plexus-scoring jobs` and `results`: what became of a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from plexus_scoring.cli.command import AccountOption, Command, load_settings, run, stop
from plexus_scoring.cli.documents import Document, document_of, result_of
from plexus_scoring.cli.exits import Exit, exit_of
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    error_body,
    print_error,
    print_fields,
    print_json,
    print_table,
)
from plexus_scoring.cli.queue import NOT_QUEUED, discard_dead_letters, enqueue
from plexus_scoring.cli.views import job_view, result_view, utc
from plexus_scoring.cli.worker import TransportOption
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound
from plexus_scoring.model.job import JobKey, JobStatus, ScoringJob
from plexus_scoring.model.result import ScoreResult, result_id_of

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application

Result = TypeVar("Result")
_PAGE = 100


def register(app: typer.Typer) -> None:
    """Add both groups."""
    jobs = typer.Typer(no_args_is_help=True, help="List, show and redrive scoring jobs.")
    jobs.command("list", cls=Command)(list_jobs)
    jobs.command("show", cls=Command)(show_job)
    jobs.command("redrive", cls=Command)(redrive)
    app.add_typer(jobs, name="jobs")
    results = typer.Typer(no_args_is_help=True, help="Show score results.")
    results.command("show", cls=Command)(show_result)
    app.add_typer(results, name="results")


def list_jobs(
    *,
    status: Annotated[
        list[JobStatus] | None,
        typer.Option(case_sensitive=False, help="Only these; repeat it. Default: all."),
    ] = None,
    account: AccountOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Jobs of each status.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where a page of one status ended.")
    ] = None,
    oldest_first: Annotated[bool, typer.Option(help="Else the newest.")] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """List jobs, the last touched first, whatever their status."""
    statuses = status or list(JobStatus)
    if cursor is not None and len(statuses) > 1:
        raise InvalidRequest("--cursor goes on in one --status: name it")

    async def work(app: Application) -> tuple[list[ScoringJob], dict[str, str]]:
        jobs: list[ScoringJob] = []
        cursors: dict[str, str] = {}
        for one in statuses:
            page = await app.jobs.list_jobs(
                one,
                account=_account(app, account),
                limit=limit,
                cursor=cursor,
                oldest_first=oldest_first,
            )
            jobs += page.jobs
            if page.cursor is not None:
                cursors[one.value] = page.cursor
        jobs.sort(key=lambda job: job.updated_at, reverse=not oldest_first)
        return jobs, cursors

    jobs, cursors = _with_application(work)
    if output_format is Format.JSON:
        print_json({"jobs": [job_view(job) for job in jobs], "cursors": cursors})
        return
    print_table(
        ("job", "status", "attempt", "scorecard", "score", "item", "updated", "last error"),
        (
            (
                job.id,
                job.status.value,
                job.attempt,
                job.scorecard,
                job.score,
                job.item_id,
                utc(job.updated_at),
                job.last_error.message if job.last_error else None,
            )
            for job in jobs
        ),
    )
    for name, after in cursors.items():
        print_error(
            ErrorInfo(code="more", message=f"more {name}: --status {name} --cursor {after}")
        )


def show_job(
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    account: AccountOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Show one job and, if it has one, its result."""

    async def work(app: Application) -> tuple[ScoringJob, ScoreResult | None]:
        key = JobKey(_account(app, account), job_id)
        job = await app.jobs.get(key)
        if job is None:
            raise NotFound(f"there is no job {job_id!r} in account {key.account!r}")
        return job, await app.jobs.result(job.result_id or result_id_of(key), account=key.account)

    job, result = _with_application(work)
    if output_format is Format.JSON:
        print_json({"job": job_view(job), "result": result_view(result) if result else None})
        return
    view = job_view(job)
    error = job.last_error
    print_fields(
        [
            *(
                (name, view[name])
                for name in ("id", "request_id", "status", "account", "scorecard", "score")
            ),
            ("item", job.item_id),
            ("attempt", job.attempt),
            *(
                (name, view[name])
                for name in ("created_at", "started_at", "updated_at", "completed_at", "not_before")
            ),
            ("lease until", view["lease_expires_at"]),
            ("last error", f"{error.code}: {error.message}" if error else None),
            ("result", job.result_id),
            *(_result_fields(result) if result else ()),
        ]
    )


def redrive(  # noqa: C901  what it says of each case
    *,
    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="JOB...", help="FAILED jobs.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every FAILED job of the account.")] = False,
    code: Annotated[
        str | None, typer.Option(help="With --all: only those that failed with this error code.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which, change nothing.")] = False,
    transport: TransportOption = None,
    account: AccountOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Make FAILED jobs PENDING again, with all their attempts, and queue them."""
    if bool(job_ids) == every:
        raise InvalidRequest("name the jobs to redrive, or give --all")
    refused: list[ErrorInfo] = []
    worst = Exit.OK

    async def work(app: Application) -> tuple[list[str], bool]:
        nonlocal worst
        owner = _account(app, account)
        wanted = job_ids or await _failed(app, owner, code)
        if dry_run:
            return wanted, False
        redriven: list[ScoringJob] = []
        for job_id in wanted:
            try:
                redriven.append(await app.jobs.redrive(JobKey(owner, job_id)))
            except (NotFound, InvalidRequest) as error:
                refused.append(error.info())
                worst = max(worst, exit_of(error))
        queued = await enqueue(app, redriven, transport=transport)
        if queued:  # each has a message again: its dead letter would bring it once more
            await discard_dead_letters(app, redriven, transport=transport)
        return [job.id for job in redriven], queued

    redriven, queued = _with_application(work)
    if code is not None and not redriven and not refused:
        refused.append(ErrorInfo(code="not_found", message=f"no FAILED job has the code {code}"))
        worst = Exit.PROBLEM
    for info in refused:
        print_error(info)
    if redriven and not queued and not dry_run:
        print_error(ErrorInfo(code="not_queued", message=NOT_QUEUED))
    if output_format is Format.JSON:
        print_json(
            {
                "dry_run": dry_run,
                "redriven": redriven,
                "queued": queued,
                "refused": [error_body(info) for info in refused],
            }
        )
    else:
        print_table(("would redrive" if dry_run else "redriven",), ([one] for one in redriven))
    stop(worst)


def show_result(
    *,
    reference: Annotated[str, typer.Argument(metavar="RESULT|JOB")],
    trace: Annotated[bool, typer.Option("--trace", help="Print the stored trace only.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Print the job's stored log only.")] = False,
    attempt: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --trace or --log: of this failed attempt. Default: the last."
        ),
    ] = None,
    account: AccountOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Show a result, by its own id or by its job's; with --log or --trace also what a failed attempt left."""
    if trace and log:
        raise InvalidRequest("--trace and --log are two documents: ask for one of them")
    if attempt is not None and not (trace or log):
        raise InvalidRequest("--attempt goes with --trace or --log")
    if trace or log:
        what: Document = "trace" if trace else "log"

        async def read(app: Application) -> bytes:
            return await document_of(
                app, JobKey(_account(app, account), reference), what, attempt=attempt
            )

        document = _with_application(read)
        typer.echo(document.decode("utf-8", "replace"), nl=not document.endswith(b"\n"))
        return

    async def work(app: Application) -> ScoreResult:
        key = JobKey(_account(app, account), reference)
        result = await result_of(app, key)
        if result is None:
            job = await app.jobs.get(key)
            if job is not None:
                raise NotFound(
                    f"job {key.id!r} is {job.status.value} and has no result: "
                    f"`plexus-scoring jobs show {key.id}` says why"
                )
            raise NotFound(f"there is no result or job {key.id!r} in account {key.account!r}")
        return result

    result = _with_application(work)
    if output_format is Format.JSON:
        print_json(result_view(result))
    else:
        print_fields(
            (
                ("id", result.id),
                ("job", result.job_id),
                ("account", result.account),
                ("scorecard", result.scorecard),
                ("score", result.score),
                ("item", result.item_id),
                *_result_fields(result),
            )
        )


def _result_fields(result: ScoreResult) -> list[tuple[str, Any]]:
    cost = result.cost
    return [
        ("value", result.value),
        ("explanation", result.explanation),
        ("confidence", result.confidence),
        ("cost", f"USD {cost.total_cost:.6f}, {cost.llm_calls} calls" if cost.llm_calls else None),
        ("undetermined", result.undetermined_reason or "yes" if result.undetermined else None),
        ("reused from", result.reused_from),
        ("scored", utc(result.created_at)),
        ("score version", result.score_version),
        ("trace", result.attachments.trace),
        ("log", result.attachments.log),
    ]


async def _failed(app: Application, account: str, code: str | None) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await app.jobs.list_jobs(
            JobStatus.FAILED, account=account, limit=_PAGE, cursor=cursor
        )
        found += [
            job.id
            for job in page.jobs
            if code is None or (job.last_error is not None and job.last_error.code == code)
        ]
        cursor = page.cursor
        if cursor is None:
            return found


def _account(app: Application, given: str | None) -> str:
    return given or app.settings.account


def _with_application(work: Callable[[Application], Awaitable[Result]]) -> Result:
    """Run `work` on the process's parts."""
    settings = load_settings()

    async def opened() -> Result:
        from plexus_scoring.bootstrap import open_application  # noqa: PLC0415  stores, clients

        async with open_application(settings) as app:
            return await work(app)

    return run(opened())
