"""`plexus-scoring worker`: take requests from a broker until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import print_error
from plexus_scoring.model.errors import ScoringError, describe

TransportOption = Annotated[
    str | None,
    typer.Option(
        "--transport",
        metavar="KIND",
        help="rabbitmq, sqs or redis. Default: PLEXUS_TRANSPORT.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker", cls=Command)(worker)


def worker(transport: TransportOption = None) -> None:
    """Take requests from a broker and score them, until SIGTERM or SIGINT.

    The first signal drains for PLEXUS_DRAIN_SECONDS, a second one releases at once what is in work; both end with
    exit code 0. A wrong set-up ends with 1, naming every missing variable; a crash with 4.
    """
    import logging  # noqa: PLC0415  with the rest that only a worker needs

    from plexus_scoring.telemetry.logs import configure_logging  # noqa: PLC0415
    from plexus_scoring.worker.connect import transport_kind  # noqa: PLC0415
    from plexus_scoring.worker.process import run_worker  # noqa: PLC0415

    settings = load_settings()
    kind = transport_kind(settings, transport)
    configure_logging(settings.log_level)
    try:
        run_worker(kind, settings)
    except ScoringError:
        raise
    except Exception as error:
        logging.getLogger(__name__).exception("the worker crashed")
        print_error(describe(error))
        raise typer.Exit(Exit.FAILED) from error
