"""What a URL of the settings must look like, before anything connects to it."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

HTTP = ("http", "https")


def problem_of_edges(text: str) -> str | None:
    """Return what a secret's file or an env file left around a value, None if nothing."""
    if text != text.strip():
        return "begins or ends with a blank or a line break: set it again without"
    if text[:1] in ("'", '"'):
        return "is in quotation marks, which are part of the value in an env file: take them away"
    return None


def problem_of_url(text: str, schemes: Collection[str]) -> str | None:
    """Return why `text` is no URL of these schemes, None if it is one. Nothing of it is quoted: it may hold a password.

    A driver may follow the scheme, as in ``postgresql+psycopg://``.
    """
    if (problem := problem_of_edges(text)) is not None:
        return problem
    allowed = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "is no URL: a password's special characters must be percent-encoded"
    scheme = parts.scheme.partition("+")[0]
    if scheme not in schemes or not text[len(parts.scheme) :].startswith("://"):
        return f"must begin with {allowed}"
    if scheme in HTTP and not parts.hostname:
        return f"names no host: {scheme}://HOST/…"
    return "has port 0, which no server can have" if port == 0 else None
