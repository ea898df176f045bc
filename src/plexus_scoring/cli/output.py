"""What commands print: JSON alone on stdout, or text for a person; everything else goes to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from plexus_scoring.model.errors import ErrorInfo

if TYPE_CHECKING:
    from rich.console import Console


_PIPE_WIDTH = 160
_NOT_SHOWN = {number: "\ufffd" for number in (*range(32), *range(127, 160)) if chr(number) != "\t"}
"""Control characters: a model's answer must not steer the terminal."""


class Format(StrEnum):
    """Who reads the output."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="json prints one JSON document on stdout, and only that.")
]


def print_json(value: Any) -> None:
    """Write `value` (plain values, msgspec structs, dataclasses) as one JSON document."""
    try:
        body = msgspec.json.format(msgspec.json.encode(value), indent=2)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form, but JSON's own escape can carry it.
        body = json.dumps(msgspec.to_builtins(value), indent=2).encode()
    sys.stdout.flush()
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()


def console(*, stderr: bool = False) -> Console:
    """Return rich's console; its import costs 40 ms, so JSON output never asks for it."""
    from rich.console import Console  # noqa: PLC0415  see above

    # A file or pipe has no width: lines there are as long as a wide window's.
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    unbroken: Sequence[str] = (),
) -> None:
    """Print rows of plain text (nothing in them is taken for markup); `unbroken` columns are not wrapped."""
    from rich import box  # noqa: PLC0415  see `console`
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header in unbroken)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    console().print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; pairs without a value are left out.

    Written without rich: a score's first answer need not wait for its import.
    """
    shown = [(name, _cell(value)) for name, value in fields if value is not None and value != ""]
    width = max((len(name) for name, _ in shown), default=0)
    terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    before, after = ("\x1b[2m", "\x1b[0m") if terminal else ("", "")
    for name, value in shown:
        first, *more = [line.translate(_NOT_SHOWN) for line in value.splitlines()] or [""]
        typer.echo(f"{before}{name:<{width}}{after}  {first}")
        for line in more:
            typer.echo(f"{'':<{width}}  {line}")


def print_error(info: ErrorInfo) -> None:
    """Write an error to stderr, one line, without decoration: editors parse `file:line:column: …`."""
    line = f"{info.message}\n".encode("utf-8", "backslashreplace")
    sys.stderr.flush()
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()


def error_body(info: ErrorInfo) -> dict[str, str]:
    """Return an error as it stands in every JSON output."""
    return {"code": info.code, "message": info.message}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).encode("utf-8", "backslashreplace").decode()
