"""Looks at the variables that a client for models is made of, before any job could fail by them.

Proxies and certificates are the process's, as for every HTTP client; keys and addresses may come from a secret.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from plexus_scoring.engines.models.connections import trusted
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.urls import problem_of_edges

KEYS = (
    "OPENAI_API_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT_ID",
    "AZURE_OPENAI_API_KEY",
    "AZURE_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "ANTHROPIC_API_KEY",
    "OLLAMA_API_KEY",
)
ADDRESSES = (
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_API_BASE",
    "ANTHROPIC_BASE_URL",
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ENDPOINTS = ("/chat/completions", "/responses", "/messages")
_SOCKS = ("socks5", "socks5h")
_PROXY_SCHEMES = ("http", "https", *_SOCKS)


def check_environment(environ: Mapping[str, str]) -> None:
    """Return if a client can be made.

    Args:
        environ: Keys and addresses.

    Raises:
        ConfigurationError: names each variable that is wrong, and what to do.
    """
    looks: tuple[tuple[tuple[str, ...], Mapping[str, str], Callable[[str], str | None]], ...] = (
        (KEYS, environ, _key_problem),
        (ADDRESSES, environ, _address_problem),
        (tuple(_both_cases(PROXIES)), os.environ, _proxy_problem),
        (("SSL_CERT_FILE",), os.environ, _file_problem),
        (("SSL_CERT_DIR",), os.environ, _folder_problem),
    )
    problems = [
        f"{name}: {problem}"
        for names, values, look in looks
        for name in names
        if values.get(name) and (problem := look(values[name]))
    ]
    if problems:
        raise ConfigurationError("; ".join(problems))


def _both_cases(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield name
        yield name.lower()


def _key_problem(key: str) -> str | None:
    """Return why a key cannot travel in a header, or is none. No part of the key is told."""
    if key[0] in "'\"":
        return problem_of_edges(key)
    for position, letter in enumerate(key, start=1):
        if letter in "\r\n":
            return f"a line break at position {position}: set it again without"
        if not "!" <= letter <= "~":
            kind = "a blank" if letter.isspace() else "a letter that is not ASCII"
            return f"{kind} at position {position}: copy the key again"
    return None


def _address_problem(address: str) -> str | None:
    endpoint = next((end for end in _ENDPOINTS if address.rstrip("/").endswith(end)), None)
    if endpoint is not None:
        return f"ends with {endpoint}, which is added to it: leave that out"
    return problem_of_edges(address) or _url_problem(address, ("http", "https"))


def _proxy_problem(proxy: str) -> str | None:
    address = proxy if "://" in proxy else f"http://{proxy}"
    problem = _url_problem(address, _PROXY_SCHEMES)
    if problem is None and urlsplit(address).scheme in _SOCKS and not _has_socks():
        return (
            "SOCKS needs the package socksio: pip install 'plexus-scoring[portable]', or unset it"
        )
    return problem


def _url_problem(address: str, schemes: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError as error:
        return f"not a URL ({error})"
    if parts.scheme.lower() not in schemes:
        return f"the scheme {parts.scheme!r} is none of {', '.join(schemes)}"
    return None if named else "names no host"


def _has_socks() -> bool:
    return importlib.util.find_spec("socksio") is not None


def _file_problem(name: str) -> str | None:
    try:
        trusted(name, None)
    except ssl.SSLError:
        return f"{name} holds no certificate in PEM form"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def _folder_problem(names: str) -> str | None:
    for name in names.split(os.pathsep):
        if not Path(name).is_dir():
            return f"{name} is not a directory"
    try:
        trusted(None, names)
    except OSError as error:
        return f"a file in {names} holds no certificate in PEM form ({error.strerror or error})"
    return None
