"""HTTP connections in several small pools instead of one large one.

httpcore looks at every connection of a pool for each request, which at 500 connections costs more than all the rest of
a call (measured by benchmarks/models.py: 6.4 ms CPU a call with one pool). Pools of a few dozen keep that small.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import ssl

    import httpx2

POOL_SIZE = 32
KEEPALIVE_SECONDS = 60.0

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


def connection_limits() -> httpx2.Limits:
    """Return the limits of one pool."""
    import httpx2  # noqa: PLC0415  0.1 s: only when a model is asked

    # More than are lent at a time: a connection that broke may linger until it is noticed.
    return httpx2.Limits(
        max_connections=2 * POOL_SIZE,
        max_keepalive_connections=POOL_SIZE,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Return the trusted certificates, read once for all pools (0.2 s)."""
    import httpx2  # noqa: PLC0415  0.1 s: only when a model is asked

    return httpx2.create_ssl_context()
