"""`plexus-scoring config`: what the environment says, and the page that documents it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from plexus_scoring.cli.command import Command, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    print_error,
    print_json,
    print_table,
)
from plexus_scoring.cli.variables import NEEDS, Role, markdown, sections
from plexus_scoring.model.errors import ConfigurationError, ErrorInfo
from plexus_scoring.settings import Settings
from plexus_scoring.urls import problem_of_url

MASK = "********"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Check and document the settings.")
    group.command("check", cls=Command)(check)
    group.command("docs", cls=Command)(docs)
    app.add_typer(group, name="config")


def check(
    *,
    role: Annotated[
        Role, typer.Option("--for", help="What the process is to be; decides what is missing.")
    ] = Role.LOCAL,
    everything: Annotated[
        bool, typer.Option("--all", help="Also variables that are not set and have no default.")
    ] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Show every setting, secrets masked. Exits with 1 if one is malformed or missing."""
    problems = _problems(role)
    rows = [
        {
            "section": part.title,
            "name": row.name,
            "value": _shown(row.name, row.default, secret=row.secret),
            "source": "environment" if os.environ.get(row.name) else "default",
            "secret": row.secret,
        }
        for part in sections()
        for row in part.rows
    ]
    unknown = _unknown([str(row["name"]) for row in rows])
    if output_format is Format.JSON:
        document = {"ok": not problems, "problems": problems, "unknown": unknown}
        print_json(document | {"settings": rows})
    else:
        print_table(
            ("variable", "value", "from"),
            (
                (
                    row["name"],
                    row["value"] if row["value"] is not None else "(not set)",
                    row["source"],
                )
                for row in rows
                if everything or row["value"] is not None
            ),
            folded=("value",),
        )
    for problem in problems:
        print_error(ErrorInfo(code="configuration_error", message=problem))
    for doubt in unknown:
        print_error(ErrorInfo(code="unknown_setting", message=doubt))
    stop(Exit.PROBLEM if problems else Exit.OK)


def _unknown(known: Sequence[str]) -> list[str]:
    """Return a line for each variable that looks like a setting and is none: most are misspelt."""
    found = []
    for name in sorted(os.environ):
        # A setting's name may be followed by what it is for: PLEXUS_MODEL_CONCURRENCY_OPENAI.
        if not name.startswith("PLEXUS_") or any(f"{name}_".startswith(f"{one}_") for one in known):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        hint = f": did you mean {close[0]}?" if close else ""
        found.append(f"{name} is set, but is no setting{hint}")
    return found


def docs(
    *,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: print the page.")
    ] = None,
    only_check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit with 1 if the file is not current."),
    ] = False,
) -> None:
    """Write the page that documents every setting."""
    page = markdown(sections())
    if file is None:
        typer.echo(page, nl=False)
        return
    current = file.read_text(encoding="utf-8") if file.is_file() else ""
    if only_check:
        if current != page:
            raise ConfigurationError(
                f"{file} is not current: run `plexus-scoring config docs {file}`"
            )
    elif current != page:
        file.write_text(page, encoding="utf-8")


def _problems(role: Role) -> list[str]:
    problems: list[str] = []
    try:
        settings = Settings.from_environment()
    except ConfigurationError as error:
        problems += error.message.split("; ")
        settings = None
    try:
        if settings is not None:
            settings.require(*_needs(role, settings))
    except ConfigurationError as error:
        problems.append(error.message)
    try:
        from plexus_scoring.engines.models.environment import check_environment  # noqa: PLC0415
        from plexus_scoring.engines.models.settings import ModelSettings  # noqa: PLC0415

        ModelSettings.from_environment().limits("openai")
        check_environment(os.environ)
    except ConfigurationError as error:
        told = {problem.partition(" ")[0] for problem in _model_urls()}
        found = error.message.split("; ")
        problems += [one for one in found if one.partition(":")[0] not in told]
    return [*problems, *_model_urls()]


def _model_urls() -> Iterator[str]:
    """Yield what is wrong with addresses that are no fields of `Settings`."""
    for row in (row for part in sections() for row in part.rows if not row.field):
        value = os.environ.get(row.name)
        problem = problem_of_url(value, row.schemes) if value and row.schemes else None
        if problem:
            yield f"{row.name} {problem}"


def _needs(role: Role, settings: Settings) -> tuple[str, ...]:
    if role is not Role.WORKER:
        return NEEDS[role]
    from plexus_scoring.worker.connect import required_fields, transport_kind  # noqa: PLC0415

    return required_fields(settings, transport_kind(settings))


def _shown(name: str, default: str, *, secret: bool) -> str | None:
    value = os.environ.get(name) or default
    if not value:
        return None
    return MASK if secret and os.environ.get(name) else value
