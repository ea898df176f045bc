"""How long, how often and how late: the numbers that the one path goes by."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Limits of one attempt and of all attempts together. Times are seconds.

    Attributes:
        lease_seconds: How long a claim holds; renewed every third of it while the engine runs.
        max_attempts: Attempts after which a job is FAILED.
        job_timeout: Longest time for one attempt.
        retry_base: Upper bound of the first retry's delay, doubled by each further attempt.
        refused_seconds: About how often a job is tried while a provider refuses our account or our set-up is wrong.
        retry_max: Upper bound of any retry's delay, also of one that a provider asks for.
        provider_patience: How long a job is tried again while its model provider is down.
        reuse_results: Answer with a stored result of the same content and version.
        max_item_bytes: Largest text that is read from S3.
        mock: What a job lacks is made up (`PLEXUS_SCORING_MODE=mock`), for trying the pipeline without any data.
    """

    lease_seconds: float = 60.0
    max_attempts: int = 5
    job_timeout: float = 280.0
    retry_base: float = 2.0
    refused_seconds: float = 30.0
    retry_max: float = 600.0
    provider_patience: float = 21_600.0
    reuse_results: bool = False
    max_item_bytes: int = 20_000_000
    mock: bool = False

    @property
    def max_deaths(self) -> int:
        """Workers that may die under a job; the last of them at least while it is alone."""
        return max(self.max_attempts, 3)

    def retry_delay(self, attempt: int, *, retry_after: float | None = None) -> float:
        """Return the delay before the next attempt.

        Exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), bounded by
        `retry_max`. A provider's Retry-After is a lower bound, because coming earlier is refused again; the
        jitter on top spreads those who were told the same.

        Args:
            attempt: The attempt that just ended, from 1.
            retry_after: What the provider asked for.
        """
        bound = min(self.retry_max, self.retry_base * 2 ** min(attempt - 1, 32))
        delay = random.uniform(0, bound)  # noqa: S311  jitter is no secret
        return min(self.retry_max, (retry_after or 0.0) + delay)

    def down_delay(self, elapsed: float, *, retry_after: float | None = None) -> float:
        """Return the delay before a job is tried again whose provider has been down for `elapsed` seconds.

        About as long again, so that the delays double until they reach `retry_max`.
        """
        bound = min(self.retry_max, self.retry_base + elapsed)
        delay = bound * random.uniform(0.5, 1)  # noqa: S311  see retry_delay
        return min(self.retry_max, (retry_after or 0.0) + delay)

    def refused_delay(self, *, retry_after: float | None = None) -> float:
        """Return the delay before a job is tried again that waits until account or set-up are put right."""
        delay = self.refused_seconds * random.uniform(0.5, 1)  # noqa: S311  see retry_delay
        return min(self.retry_max, (retry_after or 0.0) + delay)
