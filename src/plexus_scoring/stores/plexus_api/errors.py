"""What an AppSync API says when it does not do what it was asked, read from its answers.

AppSync answers 200 with an ``errors`` list beside whatever ``data`` it has; only authorization, throttling and faults
of its own come as an HTTP status. See "Error handling and logging" in the AWS AppSync Developer Guide.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from plexus_scoring.model.errors import StoreUnavailable, shorten

_PASSING = re.compile(
    r"Throttl|ProvisionedThroughput|TooManyRequests|Timeout|InternalFailure|Internal.?Server|Unavailable"
)
_UNKNOWN_FIELD = (
    re.compile(r"FieldUndefined: Field '(\w+)' in type '(\w+)'"),
    re.compile(r"Cannot query field '(\w+)' on type '(\w+)'"),
)
_UNKNOWN_INPUT = re.compile(r"field name '(\w+)' that is not defined for input object type '(\w+)'")


class Misconfigured(StoreUnavailable):
    """The API refuses us, or does not know our account: the deployment must be corrected, no job is at fault."""


class SchemaDiffers(Misconfigured):
    """The API's schema lacks what an operation cannot do without."""


class ApiError(msgspec.Struct, frozen=True):
    """One entry of ``errors``."""

    message: str
    type: str = ""
    path: tuple[str | int, ...] = ()

    @property
    def field(self) -> str | None:
        """The top-level field (its alias, where it has one) that failed; None: the whole request."""
        return str(self.path[0]) if self.path else None

    @property
    def condition_refused(self) -> bool:
        """Whether a mutation's condition was false, or its record was there already, or not at all."""
        return "ConditionalCheckFailed" in self.type or "conditional request failed" in self.message

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a little later."""
        return bool(_PASSING.search(self.type) or (not self.type and _PASSING.search(self.message)))

    @property
    def unauthorized(self) -> bool:
        """Whether the caller may not do this."""
        return "Unauthorized" in self.type or "AccessDenied" in self.type

    def unknown_field(self) -> tuple[str, str] | None:
        """Return (type, field) where the API's schema lacks a field that we asked for or sent."""
        for pattern in _UNKNOWN_FIELD:
            if found := pattern.search(self.message):
                return found[2], found[1]
        if found := _UNKNOWN_INPUT.search(self.message):
            return found[2], found[1]
        return None

    def __str__(self) -> str:
        place = ".".join(map(str, self.path))
        kind = f" ({self.type})" if self.type else ""
        return shorten(f"{place}: {self.message}{kind}" if place else self.message + kind, 300)


def parse_errors(value: Any) -> tuple[ApiError, ...]:
    """Return the entries of an answer's ``errors``, whatever shape they are in."""
    if not isinstance(value, list):
        return ()
    found = []
    for entry in value:
        if not isinstance(entry, dict):
            found.append(ApiError(str(entry)))
            continue
        path = entry.get("path")
        found.append(
            ApiError(
                message=str(entry.get("message") or "no message"),
                type=str(entry.get("errorType") or ""),
                path=tuple(path) if isinstance(path, list) else (),
            )
        )
    return tuple(found)
