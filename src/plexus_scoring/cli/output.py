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
    from rich.text import Text


_PIPE_WIDTH = 160
_CLIPPED, _FOLDED = 6, 20
"""Least width of a column that is clipped, and of one that is wrapped."""
_GAP = 3
"""Columns of the window between two of the table."""
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

    # A file or pipe has no width: lines there are as long as a wide window's, or as COLUMNS says.
    terminal = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if terminal else _PIPE_WIDTH)


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    unbroken: Sequence[str] = (),
    folded: Sequence[str] = (),
    drawn: bool = False,
) -> None:
    """Print rows of plain text (nothing in them is taken for markup): a table, or into a pipe tab-separated values.

    Args:
        headers: The columns' names. A pipe gets the rows only.
        rows: The cells.
        title: Stands above a table.
        unbroken: Columns that are shown whole, as the first one is. Others are clipped at the window's width.
        folded: Columns that are wrapped instead, because a person reads them to the end.
        drawn: Whether a pipe gets the table, too.
    """
    if not drawn and not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(_one_line(cell) for cell in row))
        return
    from rich import box  # noqa: PLC0415  see `console`
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    cells = [
        [
            Text(_cell(cell) if header in folded else _one_line(cell))
            for header, cell in zip(headers, row, strict=True)
        ]
        for row in rows
    ]
    headers, cells = _with_values(headers, cells)
    out = console()
    natural = [
        max([len(header), *(row[number].cell_len for row in cells)])
        for number, header in enumerate(headers)
    ]
    whole = {headers[0], *unbroken}.difference(folded)
    least = [
        wide if header in whole else min(wide, _FOLDED if header in folded else _CLIPPED)
        for header, wide in zip(headers, natural, strict=True)
    ]
    widths = _widths(natural, least, out.width)
    for header, width in zip(headers, widths, strict=False):
        fold = header in folded
        table.add_column(
            header, overflow="fold" if fold else "ellipsis", no_wrap=not fold, width=width
        )
    for row in cells:
        table.add_row(*row[: len(widths)])
    out.print(table, overflow="ignore", crop=False)


def _with_values(
    headers: Sequence[str], rows: list[list[Text]]
) -> tuple[Sequence[str], list[list[Text]]]:
    """Leave out columns in which no row has anything: their room is for the others."""
    kept = [
        number for number in range(len(headers)) if not rows or any(row[number] for row in rows)
    ]
    return [headers[number] for number in kept], [[row[number] for number in kept] for row in rows]


def _widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return the widths of the columns that a window has room for; the last ones are left out first."""
    count = len(least)
    while count > 1 and sum(least[:count]) + _GAP * (count - 1) > room:
        count -= 1
    left = room - sum(least[:count]) - _GAP * (count - 1)
    widths = list(least[:count])
    # What is left goes to the columns that miss least, so that most are shown whole.
    for number in sorted(range(count), key=lambda one: natural[one] - least[one]):
        more = max(0, min(left, natural[number] - widths[number]))
        widths[number] += more
        left -= more
    return widths


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


def _one_line(value: object) -> str:
    """Return a cell without line breaks, tabs and control characters."""
    return " ".join(_cell(value).split()).translate(_NOT_SHOWN)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).encode("utf-8", "backslashreplace").decode()
