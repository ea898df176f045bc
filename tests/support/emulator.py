"""AWS's emulator of the Lambda runtime for tests: skipped on a laptop without it, a failure in CI."""

import os
from pathlib import Path

import pytest

from plexus_scoring.local.emulator import find_emulator
from plexus_scoring.model.errors import ConfigurationError


def require_emulator() -> Path:
    """Return the emulator's program; skip the test where it is not installed, and fail it in CI."""
    try:
        return find_emulator()
    except ConfigurationError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(error.message)
        pytest.skip(error.message)
