"""`plexus-scoring lambda`: run the functions of this project on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from plexus_scoring.cli.command import Command, load_settings, stop
from plexus_scoring.cli.exits import Exit
from plexus_scoring.cli.inputs import read_event
from plexus_scoring.cli.output import Format, FormatOption, print_json
from plexus_scoring.cli.variables import NEEDS, Role
from plexus_scoring.model.errors import InvalidRequest

FunctionOption = Annotated[
    str, typer.Option(metavar="NAME", help="Folder below lambda_functions, e.g. score_processing.")
]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, max=900, help="Seconds that one invocation may take.")
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Run Lambda functions on this machine.")
    group.command("serve", cls=Command)(serve)
    group.command("invoke", cls=Command)(invoke)
    app.add_typer(group, name="lambda")


def serve(
    *,
    function: FunctionOption,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 9000,
    host: Annotated[str, typer.Option(help="Who reaches it can run the function.")] = "127.0.0.1",
    timeout: TimeoutOption = 300.0,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 4,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="Beside it an embedded AWS: its queues, table and bucket."),
    ] = False,
    rie: Annotated[
        bool,
        typer.Option("--rie", help="Under AWS's own emulator (make rie): one event at a time."),
    ] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the variables for other commands here, to source."
        ),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Serve a function at the emulator's address, under the real runtime client, until Ctrl-C.

    With --embedded, score_processing also works on the embedded request queue; other commands join in with the
    variables that are printed.
    """
    from plexus_scoring.local import lambda_cli  # noqa: PLC0415  asyncio servers, h11

    if not embedded:
        _require_variables(function)
    with contextlib.ExitStack() as stack:
        variables = stack.enter_context(_embedded_aws(function, timeout)) if embedded else {}

        def announce(url: str) -> None:
            # AWS_ENDPOINT_URL names the embedded AWS; its Lambda passes events on to this one.
            told = variables | {"AWS_ENDPOINT_URL_LAMBDA": url.partition("/2015-03-31/")[0]}
            exports = [f"export {name}={shlex.quote(value)}" for name, value in told.items()]
            if env_file is not None:
                _write(env_file, exports)
            if output_format is Format.JSON:
                print_json({"function": function, "url": url, "environment": told})
                return
            shown = exports if env_file is None else [f"source {shlex.quote(str(env_file))}"]
            sys.stderr.write("\n".join([*shown, f"Serving at {url} (Ctrl-C stops)\n"]))
            sys.stderr.flush()

        lambda_cli.serve(
            function,
            port,
            host=host,
            timeout=timeout,
            max_concurrency=max_concurrency,
            environment=dict(os.environ) | variables,
            on_ready=announce,
            rie=rie,
        )


def _require_variables(function: str) -> None:
    """Refuse to serve a function of ours without its variables: each invocation would fail on them."""
    if function in set(Role):
        load_settings().require(*NEEDS[Role(function)])


def _write(file: Path, exports: Sequence[str]) -> None:
    try:
        file.touch(mode=0o600)  # it holds keys
        file.write_text("".join(f"{line}\n" for line in exports), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _embedded_aws(function: str, timeout: float) -> Iterator[dict[str, str]]:
    """Deploy what the function needs, until the block ends; give its variables."""
    from plexus_scoring.local import stack  # noqa: PLC0415  boto3

    with tempfile.TemporaryDirectory(prefix="plexus-lambda-") as folder:
        options = stack.StackOptions(
            environment=stack.settings_beside_resources(os.environ),
            functions=(function,),
            timeout=timeout,
            poll=function == stack.SCORE_PROCESSING,
        )
        with stack.LocalDeployment(Path(folder), options) as deployment:
            yield deployment.environment()


def invoke(
    *,
    function: FunctionOption,
    event: Annotated[str, typer.Option(metavar="FILE|-", help="The event, JSON.")],
    timeout: TimeoutOption = 300.0,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Invoke a function once: its answer on stdout, the end of its log on stderr.

    Exits with 4 if the function ended with an error.
    """
    from plexus_scoring.local import lambda_cli  # noqa: PLC0415  see `serve`

    result = lambda_cli.invoke(function, read_event(event), timeout=timeout)
    log = result.log_tail.decode("utf-8", "replace")
    try:
        payload = json.loads(result.payload) if result.payload else None
    except ValueError:
        payload = result.payload.decode("utf-8", "replace")
    if output_format is Format.JSON:
        print_json(
            {
                "payload": payload,
                "function_error": result.function_error,
                "request_id": result.request_id,
                "duration_seconds": round(result.duration, 6),
                "init_duration_seconds": result.init_duration and round(result.init_duration, 6),
                "log_tail": log,
            }
        )
    else:
        sys.stderr.write(log)
        sys.stderr.flush()
        typer.echo(result.payload.decode("utf-8", "replace"))
    stop(Exit.FAILED if result.function_error else Exit.OK)
