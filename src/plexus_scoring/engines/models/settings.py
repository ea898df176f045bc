"""The variables that bound and direct calls to language models.

They are read from a mapping, not from the process's environment, so that keys may come from a secret that is
never written there.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from plexus_scoring.model.errors import ConfigurationError

PREFIX = "PLEXUS_MODEL_"
Number = TypeVar("Number", int, float)
_LEAST = 0.001  # seconds, or calls a minute: anything smaller is a slip of the pen


@dataclass(frozen=True, kw_only=True)
class ProviderLimits:
    """What one provider may be asked for at a time.

    Attributes:
        concurrency: Calls in flight at most; the bound adapts below this.
        requests_per_minute: None: no limit of ours. So `tokens_per_minute` (prompt and answer).
    """

    concurrency: int = 512
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class ModelSettings:
    """How models are called.

    Attributes:
        environ: Where the variables, also those of the providers (keys, addresses), are looked up.
        timeout: Seconds that one call may take (``PLEXUS_MODEL_TIMEOUT_SECONDS``).
        attempts: Calls at most for one request, the first included (``PLEXUS_MODEL_ATTEMPTS``).
        retry_base: Upper bound of the first wait in seconds; it doubles (``PLEXUS_MODEL_RETRY_BASE_SECONDS``).
        retry_max: Upper bound of any wait, and the longest Retry-After that is waited for here; a longer one
            gives the job back (``PLEXUS_MODEL_RETRY_MAX_SECONDS``).
    """

    environ: Mapping[str, str]
    timeout: float = 120.0
    attempts: int = 4
    retry_base: float = 0.5
    retry_max: float = 20.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> ModelSettings:
        """Read the settings; an empty variable counts as not set.

        Raises:
            ConfigurationError: a variable is not a number or not in its range.
        """
        environ = os.environ if environ is None else environ
        return cls(
            environ=environ,
            timeout=_number(environ, "TIMEOUT_SECONDS", float, least=_LEAST) or cls.timeout,
            attempts=_number(environ, "ATTEMPTS", int, least=1) or cls.attempts,
            retry_base=_number(environ, "RETRY_BASE_SECONDS", float, least=_LEAST)
            or cls.retry_base,
            retry_max=_number(environ, "RETRY_MAX_SECONDS", float, least=_LEAST) or cls.retry_max,
        )

    def get(self, *names: str) -> str | None:
        """Return the first of these variables that is set."""
        return next((self.environ[name] for name in names if self.environ.get(name)), None)

    def limits(
        self, provider: str, *, concurrency: int = ProviderLimits.concurrency
    ) -> ProviderLimits:
        """Return a provider's limits: ``PLEXUS_MODEL_CONCURRENCY_OPENAI`` goes before ``PLEXUS_MODEL_CONCURRENCY``.

        So do ``REQUESTS_PER_MINUTE`` and ``TOKENS_PER_MINUTE``.

        Args:
            provider: Short name: openai, azure, bedrock, anthropic, ollama, langchain.
            concurrency: The default where neither variable is set.
        """

        def read(name: str, kind: type[Number], least: Number) -> Number | None:
            own = _number(self.environ, f"{name}_{provider.upper()}", kind, least=least)
            return own if own is not None else _number(self.environ, name, kind, least=least)

        return ProviderLimits(
            concurrency=read("CONCURRENCY", int, 1) or concurrency,
            requests_per_minute=read("REQUESTS_PER_MINUTE", float, _LEAST),
            tokens_per_minute=read("TOKENS_PER_MINUTE", float, _LEAST),
        )


def _number(
    environ: Mapping[str, str], name: str, kind: type[Number], *, least: Number
) -> Number | None:
    text = environ.get(PREFIX + name)
    if not text:
        return None
    with contextlib.suppress(ValueError):
        value = kind(text)
        if least <= value < math.inf:
            return value
    raise ConfigurationError(
        f"{PREFIX}{name}: {text!r} is not a number ({kind.__name__}) of at least {least}"
    )
