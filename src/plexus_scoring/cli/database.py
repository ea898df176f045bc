"""`plexus-scoring db`: the database of the sql store."""

from __future__ import annotations

from typing import Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings
from plexus_scoring.cli.output import Format, FormatOption, console, print_json


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The database of the sql store.")
    group.callback()(lambda: None)  # keeps `upgrade` a command of its own while it is the only one
    group.command("upgrade", cls=Command)(upgrade)
    app.add_typer(group, name="db")


def upgrade(
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="SQLAlchemy URL; default: PLEXUS_DATABASE_URL."),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Bring the database to this version's tables. Safe to run several times, and at once."""
    from plexus_scoring.model.errors import ConfigurationError  # noqa: PLC0415  with the next

    try:
        from plexus_scoring.stores.sql import upgrade as bring  # noqa: PLC0415  SQLAlchemy, Alembic
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'plexus-scoring[sql]'"
        ) from error
    version = bring(url or load_settings().database_url)
    if output_format is Format.JSON:
        print_json({"version": version})
    else:
        console().print(f"The database is at version {version}.", markup=False)
