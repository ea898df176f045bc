"""The functions: one folder of ``lambda_functions/`` each. A new folder is a new function and image."""

from __future__ import annotations

import re
from pathlib import Path

from infrastructure.config.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
SCORING = "score_processing"
SWEEPER = "sweeper"


def discover(folder: Path = ROOT / "lambda_functions") -> tuple[str, ...]:
    """Return the names of all functions, sorted.

    Raises:
        ConfigError: a folder is misnamed or has no ``handler.py``, or one of the two that the service is made of
            is missing.
    """
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(("_", "."))
    )
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
            raise ConfigError(
                f"lambda_functions/{name}: a function's name is 1 to 40 of a-z, 0-9 and _"
            )
        if not (folder / name / "handler.py").is_file():
            raise ConfigError(
                f"lambda_functions/{name} has no handler.py: add one or remove the folder"
            )
    missing = sorted({SCORING, SWEEPER} - set(names))
    if missing:
        raise ConfigError(f"lambda_functions/ lacks {', '.join(missing)}")
    return tuple(names)


def repository_name(function: str) -> str:
    """Return the ECR repository of a function's image."""
    return f"plexus/lambda-{function.replace('_', '-')}"


BASE_REPOSITORY = "plexus/lambda-base"
WORKER_REPOSITORY = "plexus/scoring-worker"


def digest_parameter(stage: str, image: str, commit: str) -> str:
    """Return the SSM parameter with the digest of a commit's image: a function's name or ``worker``."""
    return f"/plexus-scoring/{stage}/images/{image}/{commit}"
