"""The fake E2B is served by the real SDK's own service; without the SDK there is nothing to test."""

import os

import pytest


@pytest.fixture(scope="module")
def e2b():
    """Return a running fake, or skip (on a laptop) or fail (in CI) without the extra."""
    try:
        import e2b  # noqa: F401, PLC0415
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("pip install 'plexus-scoring[e2b]'")
    from tests.integration.sandbox.fake_e2b import FakeE2B  # noqa: PLC0415

    fake = FakeE2B()
    with fake.serving():
        yield fake
