"""Histories of transitions that nobody thought of, each checked against a plain model of the state machine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, LeaseLost, NotFound
from plexus_scoring.model.job import (
    Busy,
    Claimed,
    Finished,
    JobStatus,
    Lease,
    Missing,
    NotDue,
)
from tests.support.stores import key, new_job, result_of

IDS = st.sampled_from(["a", "b"])
EXAMPLES = {"memory": 60, "sqlite": 12, "postgresql": 12, "dynamodb": 8}


class Plain:
    """What one job should look like, in the simplest words."""

    def __init__(self) -> None:
        self.status = JobStatus.PENDING
        self.attempt = 0
        self.due = 0.0
        self.token: str | None = None
        self.lease_end = 0.0


class Histories(RuleBasedStateMachine):
    """Two jobs, any number of workers that never throw a lease away."""

    jobs: Any
    clock: Any
    run: Any
    prefix = 0

    def __init__(self) -> None:
        super().__init__()
        Histories.prefix += 1
        self.space = f"{Histories.prefix}-"
        self.plain: dict[str, Plain] = {}
        self.leases: list[Lease] = []

    def check_transition(self, index: int, call: Any, then: Any) -> None:
        """Make a transition with any lease ever given; it must work exactly if the lease is the job's."""
        if not self.leases:
            return
        lease = self.leases[index % len(self.leases)]
        plain = self.plain[lease.key.id]
        held = plain.status is JobStatus.IN_PROGRESS and plain.token == lease.token
        # A transition that this very lease made before may be repeated, without effect.
        repeated = plain.token == lease.token and plain.status in then.get("repeats", ())
        try:
            self.run(call(lease))
        except LeaseLost:
            assert not held
            assert not repeated
        else:
            assert held or repeated
            if held:
                then["apply"](plain)

    @rule(job_id=IDS)
    def create(self, job_id: str) -> None:
        job_id = self.space + job_id
        self.run(self.jobs.create(new_job(job_id)))
        self.plain.setdefault(job_id, Plain())

    @rule(job_id=IDS, lease_seconds=st.sampled_from([5, 60]), inline=st.booleans())
    def claim(self, job_id: str, lease_seconds: int, inline: bool) -> None:
        job_id = self.space + job_id
        new = new_job(job_id) if inline else None
        answer = self.run(self.jobs.claim(key(job_id), lease_seconds=lease_seconds, new=new))
        now = self.clock.now()
        if inline:
            self.plain.setdefault(job_id, Plain())
        plain = self.plain.get(job_id)
        if plain is None:
            assert answer == Missing()
        elif plain.status in {JobStatus.COMPLETED, JobStatus.FAILED}:
            assert isinstance(answer, Finished)
            assert (answer.result is not None) == (plain.status is JobStatus.COMPLETED)
        elif plain.status is JobStatus.PENDING and plain.due > now:
            assert answer == NotDue(plain.due - now)
        elif plain.status is JobStatus.IN_PROGRESS and plain.lease_end > now:
            assert answer == Busy(plain.lease_end - now)
        else:
            assert isinstance(answer, Claimed)
            plain.status, plain.token = JobStatus.IN_PROGRESS, answer.lease.token
            plain.lease_end = now + lease_seconds
            plain.attempt += 1
            self.leases.append(answer.lease)

    @rule(index=st.integers(0, 9))
    def renew(self, index: int) -> None:
        def apply(plain: Plain) -> None:
            plain.lease_end = self.clock.now() + 30

        self.check_transition(
            index, lambda lease: self.jobs.renew(lease, lease_seconds=30), {"apply": apply}
        )

    @rule(index=st.integers(0, 9))
    def complete(self, index: int) -> None:
        def apply(plain: Plain) -> None:
            plain.status = JobStatus.COMPLETED

        self.check_transition(
            index,
            lambda lease: self.jobs.complete(lease, result_of(lease.key)),
            {"apply": apply, "repeats": {JobStatus.COMPLETED}},
        )

    @rule(index=st.integers(0, 9), delay=st.sampled_from([0, 10]), counted=st.booleans())
    def release(self, index: int, delay: int, counted: bool) -> None:
        def apply(plain: Plain) -> None:
            plain.status = JobStatus.PENDING
            plain.attempt -= 0 if counted else 1
            plain.due = self.clock.now() + delay if delay else 0.0

        self.check_transition(
            index,
            lambda lease: self.jobs.release(lease, delay=delay, counted=counted),
            {"apply": apply, "repeats": {JobStatus.PENDING}},
        )

    @rule(index=st.integers(0, 9))
    def fail(self, index: int) -> None:
        def apply(plain: Plain) -> None:
            plain.status = JobStatus.FAILED

        self.check_transition(
            index,
            lambda lease: self.jobs.fail(lease, ErrorInfo(code="x", message="y")),
            {"apply": apply, "repeats": {JobStatus.FAILED}},
        )

    @rule(job_id=IDS)
    def redrive(self, job_id: str) -> None:
        job_id = self.space + job_id
        plain = self.plain.get(job_id)
        try:
            self.run(self.jobs.redrive(key(job_id)))
        except NotFound:
            assert plain is None
        except InvalidRequest:
            assert plain is not None
            assert plain.status is not JobStatus.FAILED
        else:
            assert plain is not None
            assert plain.status is JobStatus.FAILED
            plain.status, plain.attempt, plain.due, plain.token = JobStatus.PENDING, 0, 0.0, None

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def agrees(self) -> None:
        for job_id, plain in self.plain.items():
            job = self.run(self.jobs.get(key(job_id)))
            assert (job.status, job.attempt) == (plain.status, plain.attempt)
            under_lease = job.status is JobStatus.IN_PROGRESS
            assert job.lease_token == (plain.token if under_lease else None)
            assert job.lease_expires_at == (plain.lease_end if under_lease else None)
            stored = self.run(self.jobs.result(result_of(job_id).id))
            assert (stored is not None) == (job.status is JobStatus.COMPLETED)


async def test_no_history_leads_astray(stores, clock):
    loop = asyncio.get_running_loop()
    Histories.jobs, Histories.clock = stores.jobs, clock
    Histories.run = staticmethod(
        lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    )
    await asyncio.to_thread(
        run_state_machine_as_test,
        Histories,
        settings=settings(
            max_examples=EXAMPLES[stores.name],
            stateful_step_count=25,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(autouse=True)
def _forget_stores():
    yield
    for name in ("jobs", "clock", "run"):
        if name in vars(Histories):
            delattr(Histories, name)
