"""`plexus-scoring doctor`: is everything there that this process would need?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from plexus_scoring.cli.command import Command, run, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.output import Format, FormatOption, console, print_json
from plexus_scoring.model.errors import ConfigurationError, ScoringError
from plexus_scoring.settings import Settings

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application
    from plexus_scoring.cli.probes import Check

_STYLES = {"ok": "green", "off": "dim", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", cls=Command)(doctor)


def doctor(output_format: FormatOption = Format.TEXT) -> None:
    """Check versions, settings, store, queues, bucket, model endpoint and sandbox. Exits with 1 if one fails."""
    from plexus_scoring.cli import probes  # noqa: PLC0415  40 ms that `score` need not pay

    checks = [*probes.versions(), *run(_examine())]
    healthy = all(check.status != "fail" for check in checks)
    if output_format is Format.JSON:
        print_json({"ok": healthy, "checks": checks})
    else:
        from rich.text import Text  # noqa: PLC0415  see `output.console`

        for check in checks:
            line = Text.assemble(
                (f"{check.status:<5}", _STYLES[check.status]),
                (f"{check.name:<16}", "bold"),
                check.detail,
            )
            if check.fix:
                line.append(f"  → {check.fix}", style="yellow")
            console().print(line, soft_wrap=True)  # one line a check, however narrow the window
    stop(Exit.OK if healthy else Exit.PROBLEM)


async def _examine() -> list[Check]:
    from plexus_scoring.bootstrap import build, environment  # noqa: PLC0415  stores, clients
    from plexus_scoring.cli import probes  # noqa: PLC0415  see above
    from plexus_scoring.cli.probes import Check  # noqa: PLC0415

    try:
        environ = environment()
        settings = Settings.from_environment(environ)
    except ConfigurationError as error:
        return [Check("settings", "fail", error.message, "plexus-scoring config check")]
    checks = [Check("settings", "ok", "every variable that is set can be read")]
    try:
        app = build(settings, environ=environ)
    except (ScoringError, ImportError) as error:
        fix = "install the extra that is missing, or see plexus-scoring config check"
        return [*checks, Check("set-up", "fail", str(error), fix)]
    try:
        work: list[Callable[[Application], Awaitable[list[Check]]]] = [
            probes.store,
            probes.queues,
            probes.broker,
            probes.attachments,
        ]
        for found in await asyncio.gather(*(probe(app) for probe in work)):
            checks += found
        checks += await probes.hosts(app, environ)
        checks.append(await probes.model_endpoint(environ))
        checks.append(await probes.sandbox(environ))
    finally:
        await app.aclose()
    return checks
