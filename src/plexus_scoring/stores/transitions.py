"""The job's state machine as pure functions (``docs/state-machine.md``).

Stores that can hold a job still while they decide (memory, SQL under a row lock) call these; a store that
can only condition its write (DynamoDB) says the same in its conditions and uses them to explain a refusal.

The token of the lease that ended an attempt stays with the stored job, so that a call that is repeated
because its answer was lost is recognised. `public` hides it.
"""

from __future__ import annotations

import secrets
from typing import cast

from msgspec.structs import replace

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, LeaseLost, NotFound
from plexus_scoring.model.job import Busy, JobKey, JobStatus, Lease, NewJob, NotDue, ScoringJob
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.stores.codec import bounded, check_id, is_id


def new_token() -> str:
    """Return a fence that nobody can guess and no two claims share."""
    return secrets.token_hex(16)


def created(new: NewJob, *, now: float) -> ScoringJob:
    """Return the PENDING job. Raises InvalidRequest for an id or account that no store can hold."""
    check_id(new.id, "the job's id")
    check_id(new.account, "the job's account")
    return ScoringJob(
        id=new.id,
        scorecard=new.scorecard,
        score=new.score,
        status=JobStatus.PENDING,
        created_at=now,
        updated_at=now,
        request_id=new.request_id,
        item_id=new.item_id,
        item=new.item,
        account=new.account,
        metadata=new.metadata,
    )


def claimable(job: ScoringJob, *, now: float) -> bool:
    """Whether a claim would win now: PENDING and due, or IN_PROGRESS past its lease."""
    if job.status is JobStatus.PENDING:
        return job.not_before <= now
    return job.status is JobStatus.IN_PROGRESS and _lease_end(job) <= now


def refusal(job: ScoringJob, *, now: float) -> Busy | NotDue | None:
    """Return why a claim was refused; None if the job has ended."""
    if job.status is JobStatus.PENDING:
        return NotDue(max(job.not_before - now, 0.0))
    if job.status is JobStatus.IN_PROGRESS:
        return Busy(max(_lease_end(job) - now, 0.0))
    return None


def claimed(job: ScoringJob, *, now: float, token: str, lease_seconds: float) -> ScoringJob:
    """Return the job under a new lease, one attempt later."""
    return replace(
        job,
        status=JobStatus.IN_PROGRESS,
        attempt=job.attempt + 1,
        lease_token=token,
        lease_expires_at=now + lease_seconds,
        started_at=now,
        updated_at=now,
    )


def lease_of(job: ScoringJob) -> Lease:
    """Return the lease of an IN_PROGRESS job."""
    return Lease(
        key=job.key,
        token=cast("str", job.lease_token),
        expires_at=_lease_end(job),
        attempt=job.attempt,
    )


def holds(job: ScoringJob | None, lease: Lease) -> bool:
    """Whether the lease is the one that the job is under, expired or not."""
    return ended_by(job, lease, JobStatus.IN_PROGRESS)


def ended_by(job: ScoringJob | None, lease: Lease, status: JobStatus) -> bool:
    """Whether the job is in `status` and this lease was the last one to touch it."""
    return job is not None and job.status is status and job.lease_token == lease.token


def lost(job: ScoringJob | None, lease: Lease) -> LeaseLost:
    """Return the error for a transition whose lease is not the job's."""
    state = "gone" if job is None else f"{job.status} at attempt {job.attempt}"
    return LeaseLost(
        f"job {lease.key.id}: the lease of attempt {lease.attempt} is not the job's any more "
        f"(it is {state}); drop this work"
    )


def renewed(job: ScoringJob, *, now: float, lease_seconds: float) -> ScoringJob:
    """Return the job with its lease's end moved; `updated_at` tells of changes of state only."""
    return replace(job, lease_expires_at=now + lease_seconds)


def completed(job: ScoringJob, result: ScoreResult, *, now: float) -> ScoringJob:
    """Return the COMPLETED job."""
    return replace(
        job,
        status=JobStatus.COMPLETED,
        result_id=result.id,
        completed_at=now,
        updated_at=now,
        lease_expires_at=None,
    )


def released(
    job: ScoringJob, *, now: float, delay: float, counted: bool, error: ErrorInfo | None
) -> ScoringJob:
    """Return the released job; `last_error` stays where none is given."""
    return replace(
        job,
        status=JobStatus.PENDING,
        attempt=job.attempt if counted else job.attempt - 1,
        not_before=due_after(delay, now=now),
        last_error=bounded(error) or job.last_error,
        updated_at=now,
        lease_expires_at=None,
    )


def due_after(delay: float, *, now: float) -> float:
    """Return `not_before`; 0 for a job due at once, also for a machine whose clock is behind ours."""
    return now + delay if delay > 0 else 0.0


def failed(job: ScoringJob, error: ErrorInfo, *, now: float) -> ScoringJob:
    """Return the FAILED job."""
    return replace(
        job,
        status=JobStatus.FAILED,
        last_error=bounded(error),
        completed_at=now,
        updated_at=now,
        lease_expires_at=None,
    )


def redriven(job: ScoringJob, *, now: float) -> ScoringJob:
    """Return a FAILED job made PENDING. Raises InvalidRequest for any other status."""
    if job.status is not JobStatus.FAILED:
        raise not_redrivable(job)
    return replace(
        job,
        status=JobStatus.PENDING,
        attempt=0,
        not_before=0.0,
        updated_at=now,
        completed_at=None,
        lease_token=None,
    )


def missing(key: JobKey) -> NotFound:
    """Return the error for a job that is not there."""
    return NotFound(
        f"job {key.id} does not exist" if is_id(key.id) else f"job {key.id!a} does not exist"
    )


def check_key(key: JobKey, new: NewJob) -> None:
    """Raise InvalidRequest unless a claim's new job is the one that is claimed."""
    if new.key != key:
        raise InvalidRequest(f"the new job is {new.key.text}, not {key.text}")


def not_redrivable(job: ScoringJob) -> InvalidRequest:
    """Return the error for a redrive of a job that did not fail."""
    return InvalidRequest(f"job {job.id} is {job.status}: only a FAILED job can be redriven")


def stranded(job: ScoringJob, *, now: float, pending_older_than: float) -> bool:
    """Whether nobody seems to be coming for the job: its message was lost or its worker died."""
    if job.status is JobStatus.PENDING:
        return job.not_before <= now and job.updated_at <= now - pending_older_than
    return job.status is JobStatus.IN_PROGRESS and _lease_end(job) <= now


def check_result(lease: Lease, result: ScoreResult) -> None:
    """Raise InvalidRequest unless the result is the one that the lease's job can have."""
    key = JobKey(result.account, result.job_id)
    if key != lease.key or result.id != result_id_of(key):
        raise InvalidRequest(
            f"result {result.id} of job {result.job_id} cannot complete job {lease.key.id}: "
            "its account must be the job's, its id result_id_of(key)"
        )


def public(job: ScoringJob) -> ScoringJob:
    """Return the job as callers see it: a token only while it fences something."""
    if job.status is JobStatus.IN_PROGRESS or job.lease_token is None:
        return job
    return replace(job, lease_token=None)


def _lease_end(job: ScoringJob) -> float:
    return 0.0 if job.lease_expires_at is None else job.lease_expires_at
