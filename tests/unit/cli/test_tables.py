"""Tables: an id is never broken, what does not fit is clipped, a pipe gets tab-separated values."""

import io
import re
import sys

import pytest

from plexus_scoring.cli.output import print_table

ID = "cc44681d-6958-4a10-bca4-0f3b0f6b4a11"
HEADERS = ("job", "status", "attempt", "scorecard", "score", "item", "updated", "last error")
ROWS = [
    (ID, "FAILED", 5, "call-centre-quality", "Greeting", "item-1", "2026-11-28T16:00:00.000Z", "no\tmodel\n" * 9),
    ("j-1", "PENDING", 0, "card", "Tone", None, "2026-11-28T16:00:00.000Z", None),
]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def printed(monkeypatch):
    def printed(columns=None, **options):
        stream = io.StringIO() if columns is None else Terminal()
        if columns is not None:
            monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", stream)
        print_table(HEADERS, ROWS, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())

    return printed


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 250])
def test_an_id_is_whole_and_a_line_fits_the_window(printed, columns):
    lines = printed(columns).splitlines()
    assert [line for line in lines if line.startswith(f"{ID} ") or line.rstrip() == ID]
    assert all(len(line) <= columns for line in lines)
    assert len([line for line in lines if line.strip()]) == 4  # headers, a rule, two rows


def test_what_does_not_fit_is_clipped(printed):
    assert "…" in printed(120)
    assert "…" not in printed(300)
    assert "FAILED" in printed(60)


def test_a_column_without_a_value_takes_no_room(monkeypatch, printed):
    monkeypatch.setattr(sys.modules[__name__], "ROWS", [(*row[:-1], "") for row in ROWS])
    wide = printed(120)
    assert "last error" not in wide
    assert "2026-11-28T16:00" in wide
    assert "\t2026-11-28T16:00:00.000Z\t" in printed()  # programs count on the place of a column


def test_an_id_wider_than_the_window_is_not_broken_either(printed):
    assert ID[:20] in printed(24)
    assert len([line for line in printed(24).splitlines() if line.strip()]) == 4


def test_a_pipe_gets_tab_separated_values_without_headers(printed):
    first, second = printed().splitlines()
    assert first.split("\t")[0] == first.split()[0] == ID
    assert first.split("\t") == [
        ID, "FAILED", "5", "call-centre-quality", "Greeting", "item-1", "2026-11-28T16:00:00.000Z",
        " ".join(["no model"] * 9),
    ]  # fmt: skip
    assert second.split("\t")[5:] == ["", "2026-11-28T16:00:00.000Z", ""]


def test_a_column_that_is_read_to_its_end_is_wrapped(printed):
    assert printed(120, folded=("last error",)).count("model") == 9


def test_a_drawn_table_is_one_in_a_pipe_too(printed):
    assert printed(drawn=True).splitlines()[0].split()[:2] == ["job", "status"]
