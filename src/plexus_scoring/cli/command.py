"""What all commands share: errors become one line and an exit code, logs go to stderr, coroutines run."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from plexus_scoring.cli.exits import Exit, exit_of
from plexus_scoring.cli.output import Format, error_body, print_error, print_json
from plexus_scoring.model.errors import ScoringError
from plexus_scoring.settings import Settings

Result = TypeVar("Result")


class Command(TyperCommand):
    """A command whose `ScoringError`s end it with one line on stderr, and an exit code of `exits`.

    With ``--format json`` the error is the JSON document as well: ``{"error": {"code", "message"}}``.
    """

    def invoke(self, ctx: Any) -> Any:  # click's context: typer brings a click of its own
        """Run the command."""
        configure_logs()
        try:
            return super().invoke(ctx)
        except ScoringError as error:
            info = error.info()
            print_error(info)
            if ctx.params.get("output_format") == Format.JSON:
                print_json({"error": error_body(info)})
            raise typer.Exit(exit_of(error)) from error


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


def load_settings() -> Settings:
    """Read the environment, and the secret that it names. Raises ConfigurationError, which ends the command with 1."""
    if not os.environ.get("PLEXUS_SECRET_ARN"):
        return Settings.from_environment()
    from plexus_scoring.bootstrap import environment  # noqa: PLC0415  boto3, where there is a secret

    return Settings.from_environment(environment())


def configure_logs() -> None:
    """Send warnings, or what LOG_LEVEL asks for, to stderr as lines for a person."""
    level = logging.getLevelNamesMapping().get(os.environ.get("LOG_LEVEL", "").upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level or logging.WARNING)


def stop(code: Exit) -> None:
    """End the command with a code that is not an error's."""
    if code is not Exit.OK:
        raise typer.Exit(code)
