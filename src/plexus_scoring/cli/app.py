"""The commands, put together. A group of commands is a module of its own with `register(app)`.

Modules are light: what a command needs beyond the model is imported when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from plexus_scoring.cli import (
    config,
    database,
    demo,
    doctor,
    functions,
    jobs,
    queues,
    sandbox,
    score,
    scorecards,
    submit,
    worker,
)

app = typer.Typer(
    name="plexus-scoring",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:  # noqa: FBT001  typer calls it with the flag's value
    if asked:
        from importlib.metadata import version  # noqa: PLC0415  20 ms, asked for rarely

        typer.echo(f"plexus-scoring {version('plexus-scoring')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: FBT002  a flag that its callback answers
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Asynchronous scoring service for Plexus scorecards."""


# The order of `plexus-scoring --help`. A new group: import its module above and add it here.
for group in (
    demo,
    score,
    submit,
    jobs,
    scorecards,
    worker,
    queues,
    functions,
    sandbox,
    database,
    config,
    doctor,
):
    group.register(app)
