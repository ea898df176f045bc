"""What tests of stores and of the service share: a clock to turn by hand, jobs and results."""

from __future__ import annotations

import threading
from typing import Any

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Claimed, JobKey, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult, result_id_of
from plexus_scoring.ports import JobStore

START = 1_800_000_000.0


class FakeClock:
    """A clock that stands still until it is moved; sleeping moves it."""

    def __init__(self, now: float = START) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def key(job: str | JobKey = "job-1", account: str = "default") -> JobKey:
    """Return the key of a job of that id."""
    return job if isinstance(job, JobKey) else JobKey(account, job)


def new_job(job_id: str = "job-1", **changes: Any) -> NewJob:
    values: dict[str, Any] = {
        "id": job_id,
        "scorecard": "call-quality",
        "score": "Greeting",
        "request_id": f"request-of-{job_id}",
        "item": Item(id="item-1", text="Hello, this is Ann.", metadata={"channel": "phone"}),
        "metadata": {"priority": 3},
    }
    return NewJob(**{**values, **changes})


def result_of(job: ScoringJob | JobKey | str, **changes: Any) -> ScoreResult:
    of = job.key if isinstance(job, ScoringJob) else key(job)
    values: dict[str, Any] = {
        "id": result_id_of(of),
        "job_id": of.id,
        "account": of.account,
        "scorecard": "call-quality",
        "score": "Greeting",
        "value": "Yes",
        "created_at": START,
        "explanation": "The agent gave her name.",
        "confidence": 0.1 + 0.2,
    }
    return ScoreResult(**{**values, **changes})


async def claimed(
    jobs: JobStore, job: str | JobKey = "job-1", *, lease_seconds: float = 60
) -> Claimed:
    """Claim a job that must be there for the taking."""
    answer = await jobs.claim(key(job), lease_seconds=lease_seconds)
    assert isinstance(answer, Claimed), answer
    return answer
