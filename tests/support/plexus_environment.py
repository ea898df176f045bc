"""Makes an environment with a checkout of Plexus and no more than its scoring path imports.

    python -m tests.support.plexus_environment CHECKOUT ENVIRONMENT [--cost-calculator DIR_OR_URL] [--uv UV]

Versions are those of the checkout's pyproject.toml.
A marker in the environment says from which checkout it was made; the same one is not made twice.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

COST_CALCULATOR = "git+https://github.com/AnthusAI/openai_cost_calculator.git"
# What `plexus.Scorecard`, `plexus.scores` and its nodes import, by their names in Plexus's pyproject.toml.
SCORING = (
    "azure-identity", "boto3", "contractions", "dateparser", "gql", "graphviz", "langchain", "langchain-anthropic",
    "langchain-aws", "langchain-community", "langchain-core", "langchain-google-vertexai", "langchain-ollama",
    "langchain-openai", "langgraph", "langgraph-checkpoint-postgres", "lupa", "mistune", "nest_asyncio", "nltk",
    "ollama", "openai", "openpyxl", "pandas", "psycopg", "python-dotenv", "python-statemachine", "pyyaml",
    "rapidfuzz", "requests", "requests-aws4auth", "rich", "ruamel.yaml", "scikit-learn", "seaborn", "tactus",
    "tenacity", "tiktoken", "watchtower",
)  # fmt: skip


def requirement(name: str, spec: Any) -> str:
    """Return one of Poetry's dependencies as pip has it."""
    extras = ""
    if isinstance(spec, dict):
        extras = f"[{','.join(spec['extras'])}]" if "extras" in spec else ""
        spec = spec.get("version", "*")
    if spec == "*":
        return name + extras
    if spec[0].isdigit():
        return f"{name}{extras}=={spec}"
    if spec[0] == "^":
        parts = spec[1:].split(".")
        kept = next((n for n, part in enumerate(parts) if part != "0"), 0)
        upper = ".".join([*parts[:kept], str(int(parts[kept]) + 1)])
        return f"{name}{extras}>={spec[1:]},<{upper}"
    return f"{name}{extras}{spec}"


def make(checkout: Path, target: Path, cost_calculator: str, uv: str) -> None:
    """Make the environment unless it is there."""
    project = (checkout / "pyproject.toml").read_bytes()
    poetry = tomllib.loads(project.decode())["tool"]["poetry"]
    if poetry["name"] != "plexus" or not (checkout / "plexus" / "Scorecard.py").is_file():
        sys.exit(f"{checkout} is no checkout of github.com/AnthusAI/Plexus")
    recipe = hashlib.sha256(project + repr((SCORING, cost_calculator, str(checkout))).encode())
    marker = target / ".made-from"
    if marker.is_file() and marker.read_text(encoding="utf-8") == recipe.hexdigest():
        return
    if target.exists():
        shutil.rmtree(target)
    known = poetry["dependencies"]
    wanted = [requirement(name, known[name]) for name in SCORING if name in known]
    program = shutil.which(uv)
    python = target / "bin" / "python"
    if program:
        _run(program, "venv", "--quiet", "--python", sys.executable, target)
        install = [program, "pip", "install", "--quiet", "--python", python]
    else:
        _run(sys.executable, "-m", "venv", target)
        install = [python, "-m", "pip", "install", "--quiet"]
    _run(*install, *wanted, "msgspec")
    _run(*install, "--no-deps", cost_calculator, checkout)
    marker.write_text(recipe.hexdigest(), encoding="utf-8")
    print(f"{target} holds Plexus {poetry['version']}")  # noqa: T201 - a command's output


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--cost-calculator", default=COST_CALCULATOR)
    parser.add_argument("--uv", default="uv")
    options = parser.parse_args()
    make(
        options.checkout.resolve(),
        options.environment.resolve(),
        options.cost_calculator,
        options.uv,
    )
