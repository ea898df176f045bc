"""The README's commands print what it shows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.findall(
    r"^\$ \.venv/bin/plexus-scoring (.+)\n((?:(?!\$|```).+\n)*)",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_a_command_prints_what_the_readme_shows(command, output):
    program = str(Path(sys.executable).with_name("plexus-scoring"))
    arguments = [
        str(path.relative_to(ROOT)) if "*" in word else word
        for word in shlex.split(command)
        for path in (sorted(ROOT.glob(word)) if "*" in word else [ROOT])
    ]
    done = subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(output)


def test_the_readme_shows_a_score():
    assert any("Excellent" in output for _, output in SHOWN)
