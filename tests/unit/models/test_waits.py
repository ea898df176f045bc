"""How long a provider wants to be left alone, in each form in which servers say it."""

import email.utils
import time
from types import SimpleNamespace

import pytest

from plexus_scoring.engines.models import waits

NOW = 1_795_863_500.5


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr(waits, "time", SimpleNamespace(time=lambda: NOW))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "3600"}, 900),  # bounded
        ({"retry-after-ms": "3600000"}, 900),
        ({"retry-after": "60000"}, 60),  # milliseconds: nobody asks for 16 h 40 min
        ({"retry-after": "123456789"}, 900),
        ({"retry-after": "1795863600"}, 99.5),  # an epoch
        ({"retry-after": "1795863600000"}, 99.5),  # in milliseconds
        ({"retry-after": "1700000000"}, 0),
        ({"retry-after": email.utils.formatdate(1_795_863_600, usegmt=True)}, 99.5),
        ({"retry-after": "2026-11-28T11:00:00Z"}, 99.5),
    ],
)
def test_retry_after(headers, seconds):
    assert waits.retry_after(headers) == seconds


def test_a_date_without_a_zone_is_utc(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert waits.retry_after({"retry-after": "Sat Nov 28 11:00:00 2026"}) == 99.5
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
