"""`plexus-scoring db`: the database of the sql store."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings
from plexus_scoring.cli.output import Format, FormatOption, console, print_json

if TYPE_CHECKING:
    from plexus_scoring.stores.sql import Purged


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The database of the sql store.")
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
    """Bring the database to this version's tables. Safe to run several times, and at once."""
    version = _sql().upgrade(url or load_settings().database_url)
    if output_format is Format.JSON:
        print_json({"version": version})
    else:
        console().print(f"The database is at version {version}.", markup=False)


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
