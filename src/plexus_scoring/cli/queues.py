"""`plexus-scoring queue stats`, `dlq list|show|redrive|discard|purge` and `sweep`: what operators do with queues."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from plexus_scoring.cli.command import AccountOption, Command, load_settings, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    print_error,
    print_fields,
    print_json,
    print_table,
)
from plexus_scoring.cli.views import utc
from plexus_scoring.cli.worker import TransportOption
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, NotFound
from plexus_scoring.model.job import DEFAULT_ACCOUNT
from plexus_scoring.model.messages import ScoringRequest, encode_request, parse_request

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application
    from plexus_scoring.model.job import JobKey, ScoringJob
    from plexus_scoring.settings import Settings
    from plexus_scoring.transports.base import DeadMessage, QueueAdmin

LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="Look at so many at most.")]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", metavar="CODE", help="Only those with this reason's code."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
DEFAULT_LIMIT = 100


def register(app: typer.Typer) -> None:
    """Add the commands."""
    queue = typer.Typer(no_args_is_help=True, help="The request queue.")
    queue.command("stats", cls=Command)(stats)
    app.add_typer(queue, name="queue")
    dlq = typer.Typer(no_args_is_help=True, help="The dead-letter queue.")
    dlq.command("list", cls=Command)(list_dead)
    dlq.command("show", cls=Command)(show)
    dlq.command("redrive", cls=Command)(redrive)
    dlq.command("discard", cls=Command)(discard)
    dlq.command("purge", cls=Command)(purge)
    app.add_typer(dlq, name="dlq")
    app.command("sweep", cls=Command)(sweep)


def stats(transport: TransportOption = None, output_format: FormatOption = Format.TEXT) -> None:
    """Count the messages of the queue and of its dead-letter queue."""

    async def work() -> dict[str, Any]:
        async with _admin(load_settings(), transport) as admin:
            counts: dict[str, Any] = msgspec.to_builtins(await admin.stats())
            return counts

    counts = run(work())
    if output_format == Format.JSON:
        print_json(counts)
        return
    print_table(
        ("state", "messages"),
        [
            (state.replace("_", " "), "unknown" if count is None else count)
            for state, count in counts.items()
        ],
    )


def list_dead(
    transport: TransportOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """List dead messages and why they died. They stay where they are."""

    async def work() -> list[DeadMessage]:
        async with _admin(load_settings(), transport) as admin:
            return [message async for message in admin.dead_letters(limit)]

    seen = run(work())
    messages = [message for message in seen if reason in (None, message.reason_code)]
    _tell_of_limit(len(seen), limit)
    if output_format == Format.JSON:
        print_json([_shown(message, body=False) for message in messages])
    elif messages:
        rows = [
            (message.id, message.reason_code, utc(message.died_at), message.reason)
            for message in messages
        ]
        print_table(("id", "reason code", "died", "reason"), rows)
    else:
        typer.echo("no dead messages", err=True)
    _stop_unless_found(messages, None, reason, limit)


def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` shows it.")],
    transport: TransportOption = None,
    limit: LimitOption = 10_000,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Show one dead message with its body."""

    async def work() -> DeadMessage | None:
        async with _admin(load_settings(), transport) as admin:
            async for message in admin.dead_letters(limit):
                if message.id == message_id:
                    return message
        return None

    message = run(work())
    if message is None:
        raise NotFound(f"no dead message {message_id} among the first {limit}")
    if output_format == Format.JSON:
        print_json(_shown(message, body=True))
        return
    print_fields(
        [
            ("id", message.id),
            ("reason code", message.reason_code),
            ("reason", message.reason),
            ("died", utc(message.died_at)),
            ("body", message.body),
        ]
    )


def redrive(
    transport: TransportOption = None,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only this message.")
    ] = None,
    reason: ReasonOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    account: AccountOption = None,
    dry_run: DryRunOption = False,  # noqa: FBT002  typer's way to say it is a flag
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Move dead messages back to the queue, one by one; FAILED jobs they name become PENDING.

    What cannot be read as a request, or names a job of another account, stays: it would only die again.
    """
    chosen: list[DeadMessage] = []
    matching: list[DeadMessage] = []
    seen = 0

    async def work() -> int:
        async with _admin_and_jobs(load_settings(), transport) as (admin, application):

            async def choose(message: DeadMessage) -> bool:
                nonlocal seen
                seen += 1
                if not _matches(message, message_id, reason):
                    return False
                matching.append(message)
                try:
                    request = _request(message, account or application.settings.account_key)
                except InvalidRequest as error:
                    typer.echo(f"{message.id}  stays: {error.message}", err=True)
                    return False
                chosen.append(message)
                if dry_run:
                    return False
                await _reopen(application, request.key)
                return True

            return await admin.redrive(choose, limit=limit)

    moved = run(work())
    _tell_of_limit(seen, limit)
    _tell(chosen, "moved", moved, dry_run=dry_run, output_format=output_format)
    _stop_unless_found(matching, message_id, reason, limit)


def discard(
    message_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="As `dlq list` shows them.")
    ],
    transport: TransportOption = None,
    limit: LimitOption = 10_000,
    dry_run: DryRunOption = False,  # noqa: FBT002  typer's way to say it is a flag
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Delete dead messages for good. FAILED jobs that they name stay FAILED, and their results stay."""
    wanted = set(message_ids)
    chosen = _discard(
        lambda message: message.id in wanted, transport, limit, output_format, dry_run=dry_run
    )
    if missing := wanted - {message.id for message in chosen}:
        raise NotFound(
            f"no dead message {', '.join(sorted(missing))} among the first {limit}: see `dlq list`"
        )


def purge(
    transport: TransportOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = 100_000,
    dry_run: DryRunOption = False,  # noqa: FBT002  typer's way to say it is a flag
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Delete all dead messages for good, or those of one reason. Try it with --dry-run first."""
    chosen = _discard(
        lambda message: _matches(message, None, reason),
        transport,
        limit,
        output_format,
        dry_run=dry_run,
    )
    _stop_unless_found(chosen, None, reason, limit)


def _discard(
    matches: Callable[[DeadMessage], bool],
    transport: str | None,
    limit: int,
    output_format: Format,
    *,
    dry_run: bool,
) -> list[DeadMessage]:
    chosen: list[DeadMessage] = []
    seen = 0

    async def choose(message: DeadMessage) -> bool:
        nonlocal seen
        seen += 1
        if matches(message):
            chosen.append(message)
            return not dry_run
        return False

    async def work() -> int:
        async with _admin(load_settings(), transport) as admin:
            return await admin.discard(choose, limit=limit)

    discarded = run(work())
    _tell_of_limit(seen, limit)
    _tell(chosen, "discarded", discarded, dry_run=dry_run, output_format=output_format)
    return chosen


def _matches(message: DeadMessage, message_id: str | None, reason: str | None) -> bool:
    return message_id in (None, message.id) and reason in (None, message.reason_code)


def _tell(
    chosen: list[DeadMessage], done: str, count: int, *, dry_run: bool, output_format: Format
) -> None:
    """Say what was done with which messages."""
    if output_format == Format.JSON:
        messages = [_shown(message, body=False) for message in chosen]
        print_json({"dry_run": dry_run, done: count, "messages": messages})
        return
    verb = {"moved": "would move", "discarded": "would discard"}[done] if dry_run else done
    for message in chosen:
        typer.echo(f"{message.id}  {verb}  {message.reason_code}")
    typer.echo(f"{len(chosen)} would be {done}" if dry_run else f"{count} {done}", err=True)


def _stop_unless_found(
    found: Sequence[DeadMessage], message_id: str | None, reason: str | None, limit: int
) -> None:
    """End in error if a filter was given that matches nothing: a typing mistake must not look like success."""
    if found:
        return
    if message_id is not None:
        raise NotFound(f"no dead message {message_id} among the first {limit}")
    if reason is not None:
        text = f"no dead message has the reason code {reason}: see `dlq list`"
        print_error(ErrorInfo(code="not_found", message=text))
        stop(Exit.PROBLEM)


def sweep(
    transport: TransportOption = None,
    older_than: Annotated[
        float, typer.Option(metavar="SECONDS", help="PENDING jobs untouched for so long.")
    ] = 900.0,
    limit: LimitOption = DEFAULT_LIMIT,
    account: AccountOption = None,
    force: Annotated[  # noqa: FBT002  typer's way to say it is a flag
        bool, typer.Option("--force", help="Also while the queue still holds messages.")
    ] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Send a message for each job that no message will bring any more: every account's where none is set.

    While the queue still holds messages, those may be the jobs': nothing is sent then.
    """

    async def work() -> tuple[JobKey, ...]:
        from plexus_scoring.service.sweep import sweep as sweep_jobs  # noqa: PLC0415

        async with _admin_and_jobs(load_settings(), transport) as (admin, application):
            if not force and (held := (await admin.stats()).held):
                text = f"nothing sent: the queue still holds {held} messages; --force sends nevertheless"
                print_error(ErrorInfo(code="queue_not_empty", message=text))
                return ()

            async def enqueue(job: ScoringJob) -> None:
                await admin.send(encode_request(job), request_id=job.request_id or job.id)

            return await sweep_jobs(
                application.jobs,
                enqueue,
                application.metrics,
                application.clock,
                pending_older_than=older_than,
                limit=limit,
                account=account or application.settings.account_key,
            )

    swept = run(work())
    _tell_of_limit(len(swept), limit)
    if output_format == Format.JSON:
        print_json({"put_back": [key.id for key in swept]})
        return
    for key in swept:
        typer.echo(key.id)
    typer.echo(f"{len(swept)} put back on the queue", err=True)


def _tell_of_limit(seen: int, limit: int) -> None:
    """Say on stderr that there may be more, among which is perhaps what was asked for."""
    if seen >= limit:
        typer.echo(f"looked at {limit} only, there may be more: see --limit", err=True)


def _request(message: DeadMessage, account: str | None) -> ScoringRequest:
    """Return what a dead message asks for. Raises InvalidRequest: it cannot be read, or is not the account's."""
    request = parse_request(message.body, default_account=account or DEFAULT_ACCOUNT)
    if account not in (None, request.account):
        raise InvalidRequest(f"it names account {request.account!r}, this is {account!r}")
    return request


async def _reopen(application: Application, key: JobKey) -> None:
    """Make a FAILED job PENDING; one that is in another state, or not known yet, needs nothing."""
    try:
        await application.jobs.redrive(key)
    except (NotFound, InvalidRequest) as error:
        typer.echo(f"job {key.id} left as it is: {error.message}", err=True)


@asynccontextmanager
async def _admin(settings: Settings, asked: str | None) -> AsyncIterator[QueueAdmin]:
    from plexus_scoring.worker.connect import connect, transport_kind  # noqa: PLC0415

    transport = connect(settings, transport_kind(settings, asked))
    try:
        yield transport.admin
    finally:
        await transport.admin.aclose()
        await transport.close()


@asynccontextmanager
async def _admin_and_jobs(
    settings: Settings, asked: str | None
) -> AsyncIterator[tuple[QueueAdmin, Application]]:
    from plexus_scoring.bootstrap import open_application  # noqa: PLC0415

    async with _admin(settings, asked) as admin, open_application(settings) as application:
        yield admin, application


def _shown(message: DeadMessage, *, body: bool) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(message)
    text = row.pop("body")
    if body:
        try:
            row["body"] = json.loads(text)
        except ValueError:
            row["body"] = text
    return row
