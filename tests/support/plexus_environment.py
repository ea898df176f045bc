"""Makes an environment with a checkout of Plexus, and of the rest what the image's lock has.

    python -m tests.support.plexus_environment CHECKOUT ENVIRONMENT [--cost-calculator DIR_OR_URL]

A marker in the environment says from what it was made; the same one is not made twice.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "plexus.txt"
# As in docker/Dockerfile.base.
COST_CALCULATOR = "git+https://github.com/AnthusAI/openai_cost_calculator.git@9ae49f00dd777b3f2e18904ec89eca98795f815d"
PYTHONS = ("python3.12", "python3.11")


def make(checkout: Path, target: Path, cost_calculator: str) -> None:
    """Make the environment unless it is there."""
    project = (checkout / "pyproject.toml").read_bytes()
    if not (checkout / "plexus" / "Scorecard.py").is_file():
        sys.exit(f"{checkout} is no checkout of github.com/AnthusAI/Plexus")
    recipe = hashlib.sha256(
        project + LOCK.read_bytes() + repr((cost_calculator, str(checkout))).encode()
    )
    marker = target / ".made-from"
    if marker.is_file() and marker.read_text(encoding="utf-8") == recipe.hexdigest():
        return
    if target.exists():
        shutil.rmtree(target)
    _run(_python(), "-m", "venv", "--without-pip", target)
    install = (
        sys.executable, "-m", "pip", "--python", target / "bin" / "python", "install", "--quiet", "--no-deps",
    )  # fmt: skip
    _run(*install, "--require-hashes", "-r", LOCK)
    _run(*install, checkout)
    if _mentions_cost_calculator(checkout):
        _run(*install, cost_calculator)
    marker.write_text(recipe.hexdigest(), encoding="utf-8")
    project_table = tomllib.loads(project.decode())
    about = project_table.get("project") or project_table["tool"]["poetry"]
    print(f"{target} holds Plexus {about.get('version', '')}")  # noqa: T201 - a command's output


def _python() -> str:
    """Return an interpreter that Plexus runs on."""
    if sys.version_info[:2] in {(3, 11), (3, 12)}:
        return sys.executable
    found = next(filter(None, map(shutil.which, PYTHONS)), None)
    return found or sys.exit("Plexus needs Python 3.11 or 3.12, and neither is on PATH")


def _mentions_cost_calculator(checkout: Path) -> bool:
    """Whether this release imports it, as those before 1.63 do."""
    files = (checkout / "plexus").rglob("*.py")
    return any("openai_cost_calculator" in path.read_text(encoding="utf-8") for path in files)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--cost-calculator", default=COST_CALCULATOR)
    options = parser.parse_args()
    make(options.checkout.resolve(), options.environment.resolve(), options.cost_calculator)
