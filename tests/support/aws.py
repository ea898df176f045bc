"""The embedded AWS as a fixture: skipped on a laptop without it, a failure in CI.

A conftest takes it with ``from tests.support.aws import embedded_aws``.
"""

import os
import uuid

import pytest

from plexus_scoring.local.embedded_aws import EmbeddedAws, find_python
from plexus_scoring.model.errors import ConfigurationError


def require_embedded_aws() -> None:
    """Skip the test where ministack is not installed; in CI, fail it."""
    try:
        find_python()
    except ConfigurationError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(error.message)
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory):
    """One embedded AWS for the session; tests keep apart by names (`unique_name`)."""
    require_embedded_aws()
    with EmbeddedAws(log_file=tmp_path_factory.mktemp("aws") / "ministack.log") as aws:
        yield aws


def unique_name(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
