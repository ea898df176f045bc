"""`plexus-scoring scorecards`: check, publish and describe scorecard files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.inputs import read_scorecard, read_text
from plexus_scoring.cli.output import Format, FormatOption, print_json, print_table
from plexus_scoring.model.errors import InvalidRequest, ScorecardError

if TYPE_CHECKING:
    from plexus_scoring.model.scorecard import Scorecard

FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE...", help="Scorecards in YAML.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Check and publish scorecards.")
    group.command("lint", cls=Command)(lint)
    group.command("schema", cls=Command)(schema)
    group.command("push", cls=Command)(push)
    app.add_typer(group, name="scorecards")


def lint(
    files: FilesArgument,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Report what is wrong or odd in scorecards: place, rule and fix. Exits with 2 if there is an error."""
    from plexus_scoring.engines.portable import lint as portable  # noqa: PLC0415  the engine

    findings: list[portable.Finding] = []
    for file in files:
        try:
            findings += portable.lint(read_text(file), file=file)
        except (InvalidRequest, ScorecardError) as error:
            # The other files are checked all the same.
            findings.append(
                portable.Finding(
                    file=file,
                    line=getattr(error, "line", None) or 1,
                    column=getattr(error, "column", None) or 1,
                    rule=portable.Rule.YAML,
                    severity=portable.Severity.ERROR,
                    message=getattr(error, "bare_message", error.message),
                    fix="name a readable YAML file",
                )
            )
    errors = sum(finding.severity is portable.Severity.ERROR for finding in findings)
    if output_format is Format.JSON:
        print_json({"ok": not errors, "files": len(files), "findings": findings})
    else:
        for finding in findings:
            typer.echo(str(finding))
        warnings = len(findings) - errors
        counted = (("file", len(files)), ("error", errors), ("warning", warnings))
        files_told, *found = (
            f"{count} {word}{'' if count == 1 else 's'}" for word, count in counted
        )
        typer.echo(f"{files_told}: {', '.join(found)}", err=True)
    stop(Exit.BAD_INPUT if errors or (strict and findings) else Exit.OK)


def schema(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Default: print it.")] = None,
) -> None:
    """Write the JSON Schema of scorecard files, for editors."""
    from plexus_scoring.engines.portable.schema import scorecard_schema  # noqa: PLC0415  pydantic

    if file is None:
        print_json(scorecard_schema())
    else:
        text = json.dumps(scorecard_schema(), indent=2, ensure_ascii=False)
        try:
            file.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from error


def push(files: FilesArgument, output_format: FormatOption = Format.TEXT) -> None:
    """Store scorecards, and make each the newest version of itself."""
    settings = load_settings()
    cards = [read_scorecard(file) for file in files]

    async def work() -> None:
        from plexus_scoring.bootstrap import open_application  # noqa: PLC0415  stores, clients

        async with open_application(settings) as app:
            for card in cards:
                await app.catalog.put_scorecard(card)

    run(work())
    if output_format is Format.JSON:
        print_json({"scorecards": [_row(card) for card in cards]})
    else:
        print_table(
            ("scorecard", "version", "scores"),
            ((card.id, card.version, len(card.scores)) for card in cards),
        )


def _row(card: Scorecard) -> dict[str, object]:
    return {
        "file": card.file,
        "id": card.id,
        "name": card.name,
        "version": card.version,
        "scores": [score.name for score in card.scores],
    }
