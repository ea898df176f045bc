"""How long a provider wants to be left alone."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from plexus_scoring.engines.models.reading import number

LONGEST_SECONDS = 900.0
"""A provider that asks for more is asked again after this: one wrong header must not silence it for a day."""

_EPOCH = 1e9  # as seconds 30 years: nobody means a duration
_EPOCH_MILLISECONDS = 1e12
_DAY = 86_400.0
_MILLISECONDS = 10_000.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks to wait, at most `LONGEST_SECONDS`; None if it asks for nothing.

    Retry-After is seconds or a date (RFC 9110, 10.2.3), and a date without a zone is UTC. Servers also send an epoch
    or milliseconds: a number is taken for one where it cannot well be seconds.

    Args:
        headers: The response's headers, lower-case names.
    """
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    said = headers.get("retry-after")
    if said is None:
        return None
    seconds = number(said)
    if seconds is None:
        moment = _moment(said)
        return None if moment is None else _bounded(moment - time.time())
    return _bounded(_seconds(seconds))


def _seconds(value: float) -> float:
    if value >= _EPOCH_MILLISECONDS:
        return value / 1000 - time.time()
    if value >= _EPOCH:
        return value - time.time()
    # Round thousands are no one's hours: 60000 is a minute in milliseconds, not 16 h 40 min.
    if value > _DAY or (value >= _MILLISECONDS and value % 1000 == 0):
        return value / 1000
    return value


def _moment(said: str) -> float | None:
    """Return a date as seconds since the epoch."""
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(said.strip())
        except (ValueError, TypeError, IndexError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _bounded(seconds: float) -> float:
    return min(LONGEST_SECONDS, max(0.0, seconds))
