"""The cursor of a listing: a place in it, and which listing it belongs to.

It is validated, not signed: a forged one can only name another place in the listing that the caller asks
for anyway, since account and status come with every call.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math

import msgspec

from plexus_scoring.model import typed
from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.job import JobStatus


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The last job of a page, and a hash of the listing it was a page of."""

    listing: str
    updated_at: float
    job_id: str


def listing_of(status: JobStatus, account: str, *, oldest_first: bool) -> str:
    """Return the name under which cursors of this listing are told from others."""
    parts = msgspec.json.encode([status, ascii(account), oldest_first])
    return hashlib.sha256(parts).hexdigest()[:12]


def write(listing: str, updated_at: float, job_id: str) -> str:
    """Return the cursor for what comes after this job."""
    body = msgspec.json.encode(Position(listing, updated_at, job_id))
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def read(cursor: str, listing: str) -> Position:
    """Return the place that a cursor names. Raises InvalidRequest unless this listing gave it."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        position = typed.decode(base64.b64decode(padded, altchars=b"-_", validate=True), Position)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidRequest(
            "the cursor is not one that this store gave: start without one"
        ) from error
    if position.listing != listing or not math.isfinite(position.updated_at):
        raise InvalidRequest("the cursor belongs to another listing: start without one")
    return position
