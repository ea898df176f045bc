"""What all commands share: errors become one line and an exit code, logs go to stderr, coroutines run."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from plexus_scoring.cli.exits import Exit, exit_of
from plexus_scoring.cli.output import Format, error_body, print_error, print_json
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, ScoringError, describe, shorten
from plexus_scoring.settings import Settings

Result = TypeVar("Result")
AccountOption = Annotated[
    str | None,
    typer.Option("--account", metavar="KEY", help="Account; default: PLEXUS_ACCOUNT_KEY."),
]
log = logging.getLogger(__name__)

# typer brings a click of its own, and exports no more of its errors than this one.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
_ClickError = cast("type[Exception]", _UsageError.__base__)


class Command(TyperCommand):
    """A command whose errors end it with one line on stderr, and an exit code of `exits`.

    With ``--format json`` the error is the JSON document as well: ``{"error": {"code", "message"}}``. An error that
    no one foresaw shows its stack at LOG_LEVEL=DEBUG.
    """

    def invoke(self, ctx: Any) -> Any:  # click's context: typer brings a click of its own
        """Run the command."""
        configure_logs()
        try:
            return super().invoke(ctx)
        except ScoringError as error:
            info, code = error.info(), exit_of(error)
        except (typer.Exit, typer.Abort, _ClickError, BrokenPipeError):
            raise
        except Exception as error:
            log.debug("unexpected error", exc_info=error)
            info, code = describe(error), Exit.FAILED
        _tell(info, as_json=ctx.params.get("output_format") == Format.JSON)
        raise typer.Exit(code)


class Commands(TyperGroup):
    """The command line itself: wrong usage is told as every other error is."""

    _arguments: tuple[str, ...] = ()

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        """Read the options before the command."""
        self._arguments = tuple(args)
        with self._told():
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Find the command, read its arguments and run it."""
        with self._told():
            return super().invoke(ctx)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise  # it prints the help
            name = error.ctx.command_path if error.ctx is not None else "plexus-scoring"
            what = error.format_message().replace("Value error, ", "").rstrip(".")
            info = InvalidRequest(shorten(f"{name}: {what}; see `{name} --help`")).info()
            _tell(info, as_json=_asks_for_json(self._arguments))
            raise typer.Exit(Exit.BAD_INPUT) from error


def _tell(info: ErrorInfo, *, as_json: bool) -> None:
    print_error(info)
    if as_json:
        print_json({"error": error_body(info)})


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether ``--format json`` is among arguments that could not be parsed."""
    return "--format=json" in arguments or ("--format", "json") in pairwise(arguments)


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
    if level != logging.DEBUG:
        # It logs, as an error, what it raises as well; our own line says it once, and workers wait for a broker.
        logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)


def stop(code: Exit) -> None:
    """End the command with a code that is not an error's."""
    if code is not Exit.OK:
        raise typer.Exit(code)
