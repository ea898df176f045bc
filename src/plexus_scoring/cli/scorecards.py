"""`plexus-scoring scorecards`: check, publish and describe scorecard files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings, run
from plexus_scoring.cli.inputs import read_scorecard
from plexus_scoring.cli.output import Format, FormatOption, print_json, print_table

if TYPE_CHECKING:
    from plexus_scoring.model.scorecard import Scorecard

FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE...", help="Scorecards in YAML.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Check and publish scorecards.")
    group.command("push", cls=Command)(push)
    app.add_typer(group, name="scorecards")


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
