"""Job logs are gathered as in a process that configured its logging, without printing them."""

from __future__ import annotations

import logging

import pytest

from plexus_scoring.telemetry.logs import JobLogHandler


@pytest.fixture(autouse=True)
def _job_logs():
    logger, handler = logging.getLogger("plexus_scoring"), JobLogHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
