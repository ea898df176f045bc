"""HTTP connections in several small pools instead of one large one.

httpcore looks at every connection of a pool for each request, which at 500 connections costs more than all the rest of
a call (measured by benchmarks/models.py: 6.4 ms CPU a call with one pool). Pools of a few dozen keep that small.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import httpx2

POOL_SIZE = 32
KEEPALIVE_SECONDS = 60.0
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")

Client = TypeVar("Client")


class ClientPools(Generic[Client]):
    """HTTP clients made as they are needed; the first one with room is taken, so that few stay few.

    Args:
        make: Makes a client.
        close: Closes it.
    """

    def __init__(
        self, make: Callable[[], Client], close: Callable[[Client], Awaitable[None]]
    ) -> None:
        self._make = make
        self._close = close
        self._clients: list[Client] = []
        self._in_use: list[int] = []

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Client]:
        """Lend a client for one call."""
        number = next((n for n, used in enumerate(self._in_use) if used < POOL_SIZE), None)
        if number is None:
            number = len(self._clients)
            self._clients.append(self._make())
            self._in_use.append(0)
        in_use = self._in_use
        in_use[number] += 1
        try:
            yield self._clients[number]
        finally:
            in_use[number] -= 1

    async def aclose(self) -> None:
        """Close all clients; the next call makes new ones."""
        clients, self._clients, self._in_use = self._clients, [], []
        for client in clients:
            await self._close(client)


def make_client(headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """Return a client with the process's proxies and certificates."""
    import httpx2  # noqa: PLC0415  0.1 s: only when a model is asked

    # More than are lent at a time: a connection that broke may linger until it is noticed.
    limits = httpx2.Limits(
        max_connections=2 * POOL_SIZE,
        max_keepalive_connections=POOL_SIZE,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    certificates = tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return httpx2.AsyncClient(
        headers=headers, limits=limits, verify=certificates, follow_redirects=True
    )


@lru_cache(maxsize=4)
def tls(file: str | None, folders: str | None) -> ssl.SSLContext:
    """Return the trusted certificates, read once for all pools (0.2 s): those of the system where neither is named."""
    if file or folders:
        return trusted(file, folders)
    import httpx2  # noqa: PLC0415  see make_client

    return httpx2.create_ssl_context()


def trusted(file: str | None, folders: str | None) -> ssl.SSLContext:
    """Return the certificates of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, which may name several folders.

    OpenSSL finds a folder's certificates by hashed names only; a folder without such names is read file by file.

    Raises:
        OSError: a file cannot be read, or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file:
        context.load_verify_locations(cafile=file)
    for folder in folders.split(os.pathsep) if folders else ():
        files = sorted(Path(folder).iterdir())
        if any(_HASHED.fullmatch(path.name) for path in files):
            context.load_verify_locations(capath=folder)
        else:
            for path in files:
                if path.suffix in (".pem", ".crt", ".cer"):
                    context.load_verify_locations(cafile=path)
    return context
