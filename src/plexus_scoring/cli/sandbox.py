"""`plexus-scoring sandbox`: run a file where submitted code runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from plexus_scoring.cli.command import Command, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import Format, FormatOption, print_error, print_json
from plexus_scoring.model.errors import ErrorInfo


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Run code as rubrics run submissions.")
    group.callback()(lambda: None)  # keeps `run` a command of its own while it is the only one
    group.command("run", cls=Command)(run_file)
    app.add_typer(group, name="sandbox")


def run_file(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A program: .py, .js, .sh, #! …")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENT...", help="For the program.")
    ] = None,
    kind: Annotated[str, typer.Option(help="auto, local or e2b.")] = "auto",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that it may run.")] = 30.0,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Hand it this command's standard input.")
    ] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Create a sandbox, run a file in it, print its output, and clean up.

    Exits with 4 if the program did not end with 0.
    """
    from plexus_scoring.engines.sandbox.run import run_file as start  # noqa: PLC0415  the engine

    given = sys.stdin.read() if stdin else ""
    result = run(start(file, kind=kind, timeout=timeout, arguments=arguments or (), stdin=given))
    if output_format is Format.JSON:
        print_json(result)
    else:
        typer.echo(result.stdout, nl=False)
        typer.echo(result.stderr, nl=False, err=True)
        if result.timed_out:
            print_error(ErrorInfo(code="timed_out", message=f"ended after {timeout:g} s"))
        elif result.output_exceeded:
            print_error(ErrorInfo(code="output_exceeded", message="ended: it wrote too much"))
        elif not result.succeeded:
            print_error(ErrorInfo(code="exit", message=f"exit code {result.exit_code}"))
    stop(Exit.OK if result.succeeded else Exit.FAILED)
