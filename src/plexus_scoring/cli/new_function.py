"""`plexus-scoring new-function`: a handler, its test and its entry in the stack, ready to be changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from plexus_scoring.cli.command import Command
from plexus_scoring.cli.output import Format, FormatOption, print_json
from plexus_scoring.model.errors import InvalidRequest

FUNCTIONS = Path("lambda_functions")
TESTS = Path("tests/integration/functions")
ENTRIES = Path("infrastructure/config/functions.py")
MARKER = "    # `plexus-scoring new-function` adds a line below this one.\n"

HANDLER = '''"""{summary}"""

from __future__ import annotations

from typing import Any

from lambda_functions.runtime import Container, LambdaContext

# Built once a container, in Lambda's init phase. Name the settings that this function cannot do without:
# Container("account_key", …); a missing one then ends the start with its variable's name.
_container = Container()
_application = _container.application  # stores, attachments, engine, AWS clients


async def _work(event: object) -> dict[str, Any]:
    return {{"received": event}}


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Work on one event."""
    del context
    return _container.run(_work(event))
'''

TEST = '''"""The function {name}, under the real runtime client."""

import json

from plexus_scoring.local.lambda_cli import invoke


def test_it_answers(monkeypatch):
    monkeypatch.setenv("PLEXUS_STORE", "memory")
    result = invoke("{name}", b'{{"n": 1}}', timeout=30)
    assert result.function_error is None, result.payload
    assert json.loads(result.payload) == {{"received": {{"n": 1}}}}
'''


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("new-function", cls=Command)(new_function)


def new_function(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For example nightly_report.")],
    *,
    summary: Annotated[
        str, typer.Option(metavar="TEXT", help="What it does, in one sentence.")
    ] = "",
    directory: Annotated[
        Path, typer.Option("--directory", metavar="DIR", help="The checkout.")
    ] = Path(),
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Add a Lambda function to this checkout: handler, test and entry in the stack.

    Nothing is overwritten. Its image, repository, role, alias and log group follow from the folder.
    """
    written = scaffold(directory, name, summary=summary)
    if output_format is Format.JSON:
        print_json({"function": name, "files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote  {path}")
    typer.echo(
        f"try    echo '{{}}' | PLEXUS_STORE=memory plexus-scoring lambda invoke --function {name} --event -"
    )
    typer.echo(f"test   .venv/bin/pytest {TESTS / f'test_{name}.py'}")
    typer.echo("stack  make synth")


def scaffold(root: Path, name: str, *, summary: str = "") -> list[Path]:
    """Write the function's files below `root`, and return their paths.

    Raises:
        InvalidRequest: the name cannot be a function's, something of that name is there, or `root` is no checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise InvalidRequest(
            f"{name!r}: a function's name is 1 to 40 of a-z, 0-9 and _, a letter first"
        )
    entries = root / ENTRIES
    if not (root / FUNCTIONS / "runtime.py").is_file() or not entries.is_file():
        raise InvalidRequest(f"{root.resolve()} is no checkout of plexus-scoring: give --directory")
    config = entries.read_text("utf-8")
    if config.count(MARKER) != 1:
        raise InvalidRequest(f"{entries}: the line {MARKER.strip()!r} is missing: put it back")
    folder, test = root / FUNCTIONS / name, root / TESTS / f"test_{name}.py"
    taken = next((path for path in (folder, test) if path.exists()), None)
    if taken is not None or f'    "{name}":' in config:
        raise InvalidRequest(f"{taken or entries}: the function {name} is there already")

    summary = _sentence(summary or f"The function {name}")
    files = {
        folder / "__init__.py": f'"""{summary}"""\n',
        folder / "handler.py": HANDLER.format(summary=summary),
        test: TEST.format(name=name),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    entry = f'    "{name}": FunctionConfig(memory_mb=1024, timeout_seconds=60),\n'
    entries.write_text(config.replace(MARKER, MARKER + entry), "utf-8")
    return [*files, entries]


def _sentence(text: str) -> str:
    """Return the text as a docstring's first line."""
    line = " ".join(text.split()).replace("\\", "/").replace('"""', "'''").rstrip('"')
    return line if line.endswith((".", "!", "?")) else f"{line}."
