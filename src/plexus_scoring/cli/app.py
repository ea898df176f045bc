"""The commands, put together. A group of commands is a module of its own with `register(app)`.

Modules are light: what a command needs beyond the model is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from plexus_scoring.cli.command import Commands

MODULES = {
    "demo": ("demo",),
    "score": ("score",),
    "submit": ("submit",),
    "jobs": ("jobs", "results"),
    "scorecards": ("scorecards",),
    "worker": ("worker",),
    "queues": ("queue", "dlq", "sweep"),
    "functions": ("lambda",),
    "new_function": ("new-function",),
    "sandbox": ("sandbox",),
    "database": ("db",),
    "config": ("config",),
    "doctor": ("doctor",),
}
"""The commands that each module registers, in the order of `plexus-scoring --help`. A new group is added here."""


def _print_version(asked: bool) -> None:  # noqa: FBT001  typer calls it with the flag's value
    if asked:
        from importlib.metadata import version  # noqa: PLC0415  20 ms, asked for rarely

        typer.echo(f"plexus-scoring {version('plexus-scoring')}")
        raise typer.Exit


def options(
    version: Annotated[  # noqa: FBT002  a flag that its callback answers
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Asynchronous scoring service for Plexus scorecards."""


def build(modules: Sequence[str] = tuple(MODULES)) -> typer.Typer:
    """Return the command line with the commands of these modules."""
    made = typer.Typer(
        name="plexus-scoring",
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(options)
    for module in modules:
        import_module(f"plexus_scoring.cli.{module}").register(made)
    return made


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return what is needed to answer these arguments: one command's module, or all where none is named first."""
    first = arguments[0] if arguments else ""
    named = [module for module, commands in MODULES.items() if first in commands]
    return build(named or tuple(MODULES))
