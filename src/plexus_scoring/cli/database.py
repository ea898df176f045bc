"""`plexus-scoring db`: the database of the sql store, and the DynamoDB table."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import Format, FormatOption, console, print_json
from plexus_scoring.settings import Settings

if TYPE_CHECKING:
    from plexus_scoring.stores.sql import Purged


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The database or table of the store.")
    group.command("upgrade", cls=Command)(upgrade)
    group.command("purge", cls=Command)(purge)
    app.add_typer(group, name="db")


UrlOption = Annotated[
    str | None, typer.Option(metavar="URL", help="SQLAlchemy URL; default: PLEXUS_DATABASE_URL.")
]


def upgrade(
    *,
    url: UrlOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Bring the store to this version: the database's tables, or with PLEXUS_STORE=dynamodb the table's rows.

    Safe to run several times, and at once. In DynamoDB, run it when no earlier version works on the table any more; it
    exits with 4 while jobs are at work that such a version began: run it again then.
    """
    settings = load_settings()
    if url is None and "dynamodb" in (settings.store, settings.lease_store):
        _upgrade_table(settings, output_format)
        return
    version = _sql().upgrade(url or settings.database_url)
    if output_format is Format.JSON:
        print_json({"version": version})
    else:
        console().print(f"The database is at version {version}.", markup=False)


def _upgrade_table(settings: Settings, output_format: Format) -> None:
    from plexus_scoring.bootstrap import upgrade_table  # noqa: PLC0415  boto3

    moved = run(upgrade_table(settings))
    if output_format is Format.JSON:
        print_json(moved)
    else:
        console().print(
            f"Table {settings.jobs_table_name}: {moved.moved} rows moved, {moved.left} left at work.",
            markup=False,
        )
    stop(Exit.FAILED if moved.left else Exit.OK)


def purge(
    *,
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", min=0, help="Days since a job's end; default: PLEXUS_RETENTION_DAYS."
        ),
    ] = None,
    url: UrlOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Delete jobs that ended long ago, with their results. Safe to run beside workers; run it from a timer."""
    from plexus_scoring.model.errors import ConfigurationError  # noqa: PLC0415  with the store

    settings = load_settings()
    days = settings.retention_days if older_than is None else older_than
    if days is None:
        raise ConfigurationError("nothing says how old: give --older-than or PLEXUS_RETENTION_DAYS")
    purged = asyncio.run(_purge(url or settings.database_url, days * 86_400))
    if output_format is Format.JSON:
        print_json({"jobs": purged.jobs, "checkpoints": purged.checkpoints})
    else:
        console().print(
            f"Deleted {purged.jobs} jobs with their results, and {purged.checkpoints} old checkpoints.",
            markup=False,
        )


async def _purge(url: str, retention_seconds: float) -> Purged:
    stores = _sql().connect(url)
    try:
        purged: Purged = await stores.purge(retention_seconds=retention_seconds)
    finally:
        await stores.aclose()
    return purged


def _sql() -> ModuleType:
    """Return the store's package. Raises ConfigurationError: its extra is not installed."""
    from plexus_scoring.model.errors import ConfigurationError  # noqa: PLC0415  with the next

    try:
        from plexus_scoring.stores import sql  # noqa: PLC0415  SQLAlchemy, Alembic
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'plexus-scoring[sql]'"
        ) from error
    return sql
