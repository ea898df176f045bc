"""Reads properties of messages that the AMQP library refuses, because other clients write them.

pamqp raises for a timestamp beyond the year 9999 (one in nanoseconds, for example) and for a short string that is not
UTF-8. aiormq ends the connection then, the broker delivers the message again, to be refused again, and each time
everything else in work comes back with it, until the delivery limit has killed good messages beside the odd one.
"""

from __future__ import annotations

from typing import Any

from pamqp import decode

_TIMESTAMP_BYTES = 8


def _timestamp(value: bytes) -> tuple[int, Any]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        if len(value) < _TIMESTAMP_BYTES:
            raise
        return _TIMESTAMP_BYTES, None


def _short_string(value: bytes) -> tuple[int, str]:
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        end = value[0] + 1
        return end, value[1:end].decode(errors="replace")


def be_lenient() -> None:
    """Have pamqp read what it would refuse: no timestamp, and U+FFFD for bytes that are no text."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_string
