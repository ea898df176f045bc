"""Tells an attempt that failed from one whose worker died: a death is charged to the job only where it was alone.

A worker that dies takes every job that it holds along, and one of them may have killed it. So deaths have a limit of
their own, and after two of them a job runs while its process has no other.
"""

from __future__ import annotations

from plexus_scoring.model.errors import AttemptsExhausted, ErrorInfo
from plexus_scoring.model.job import ScoringJob
from plexus_scoring.service.policy import Policy

DEATHS_BESIDE_OTHERS = 2
"""A machine that is lost takes many innocent jobs along; they need not all run one by one after the first loss."""


def failures(job: ScoringJob) -> int:
    """Return how many attempts before this one ended with an error."""
    told = 0 if job.last_error is None else job.last_error.failures
    return told if told < job.attempt else 0  # else it is of before a redrive


def down_since(job: ScoringJob, now: float) -> float:
    """Return when the job first found its model provider down, in the row of failures that goes on now."""
    earlier = None if job.last_error is None else job.last_error.since
    return now if earlier is None else min(earlier, now)


def deaths(job: ScoringJob) -> int:
    """Return how many attempts before this one ended without any answer."""
    return max(0, job.attempt - 1 - failures(job))


def must_be_alone(job: ScoringJob, policy: Policy) -> bool:
    """Whether a claimed job may have killed the workers that had it."""
    return DEATHS_BESIDE_OTHERS <= deaths(job) < policy.max_deaths


def exhausted(job: ScoringJob, policy: Policy) -> ErrorInfo | None:
    """Return what to say of a claimed job whose workers died too often; None if it may be tried."""
    died = deaths(job)
    if died < policy.max_deaths:
        return None
    text = f"{died} attempts ended without an answer, the last because its worker died or stalled"
    if job.last_error is not None:
        text += f"; before that: {job.last_error.message}"
    return AttemptsExhausted(text).info()
