"""A Redis client as BullMQ's Python port takes it, and its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from plexus_scoring.model.errors import ConfigurationError, StoreUnavailable

CONNECT_SECONDS = 5.0
CONNECTIONS = 32
ANSWER_SECONDS = 20.0
"""Longer than the longest blocking read (BullMQ waits 10 s at most)."""


def connect_redis(url: str) -> Redis:
    """Return a client with a pool; it connects when first used.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            # Callers wait for a connection; redis-py's other pool would refuse the hundred and first.
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            decode_responses=True,
            # A job that is not UTF-8 must not fail the command that takes it; `redis_jobs` finds it.
            encoding_errors="surrogateescape",
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_keepalive=True,
            # Short: the consumer's loop has its own backoff, and readiness must notice an outage.
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
            retry_on_error=[RedisConnectionError],
        )
        return Redis.from_pool(pool)
    except ValueError as error:
        # Not chained: the library's text may hold the URL with its password.
        raise ConfigurationError(f"PLEXUS_REDIS_URL is malformed: {type(error).__name__}") from None


@contextlib.contextmanager
def redis_errors(what: str) -> Iterator[None]:
    """Turn what redis-py raises into StoreUnavailable that names `what`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis: {what}: {type(error).__name__}: {error}") from error


async def eviction(client: Redis) -> str | None:
    """Return what is wrong with the server's eviction policy; None: nothing, or the server does not tell."""
    try:
        about: Any = await client.info("memory")
    except (RedisError, OSError, TimeoutError):
        return None
    policy = about.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return f"Redis may evict jobs (maxmemory-policy {policy}): set maxmemory-policy noeviction on the server"


def options(client: Redis, prefix: str) -> dict[str, Any]:
    """Return BullMQ's options for this client."""
    return {"connection": client, "prefix": prefix}
