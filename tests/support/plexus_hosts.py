"""Environments for the engine's host processes: one with a stand-in for Plexus, one with the real `tactus`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import services

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in_plexus")
TACTUS_PYTHON = ROOT / ".venv-tactus" / "bin" / "python"


def make_environment(folder: Path) -> Path:
    """Make an environment without packages, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def add_package(python: Path, source: Path, *, version: str, summary: str = "") -> None:
    """Put a package into an environment, as an installer would."""
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    shutil.copytree(source, packages / source.name, dirs_exist_ok=True)
    about = packages / f"{source.name}-{version}.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: {source.name}\nVersion: {version}\nSummary: {summary}\n"
    (about / "METADATA").write_text(text, encoding="utf-8")


def stand_in_plexus(folder: Path) -> Path:
    """Make an environment with the stand-in, and return its interpreter."""
    python = make_environment(folder)
    add_package(python, STAND_IN / "plexus", version="0.0.1", summary="A stand-in for tests")
    return python


def require_tactus() -> str:
    """Return the interpreter that has `tactus`, or skip (fail in CI) with how to get it."""
    if TACTUS_PYTHON.is_file():
        return str(TACTUS_PYTHON)
    message = "the package tactus is not installed: make setup-tactus"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def require_bubblewrap() -> None:
    """Skip (fail in CI) where bubblewrap is not installed."""
    services.require("bwrap", install="apt-get install bubblewrap")


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *descendants(child)]
    return found


def runs(pid: int) -> bool:
    """Whether a process runs: one that has ended and is not yet collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
