"""The AWS CLI for tests: skipped on a laptop without it, a failure in CI."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSTALLED = Path(__file__).resolve().parents[2] / ".venv-awscli" / "bin" / "aws"


def require_aws_cli() -> str:
    """Return the command; skip the test where there is none, and fail it in CI."""
    if INSTALLED.is_file():
        return str(INSTALLED)
    found = shutil.which("aws")
    if found is None:
        message = "the AWS CLI is not installed: make .venv-awscli/.installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def aws(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `aws` with these variables and a PATH, and nothing of the caller's configuration."""
    given = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_PAGER": "",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [require_aws_cli(), *arguments],
        env=given | environment,
        capture_output=True,
        text=True,
        check=False,
    )
