"""What mock mode puts in place of a job, an item or a scorecard that is not there."""

from __future__ import annotations

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import NewJob, ScoringJob
from plexus_scoring.model.messages import ScoringRequest
from plexus_scoring.model.scorecard import Scorecard, content_version

NAME = "mock"


def job_of(request: ScoringRequest) -> NewJob:
    """Return a job for a request whose job is in no store."""
    job_id = request.scoring_job_id
    return NewJob(
        id=job_id,
        request_id=request.request_id,
        account=request.account,
        scorecard=NAME,
        score=NAME,
        item=Item(id=job_id, text=job_id),
    )


def item_of(job: ScoringJob) -> Item:
    """Return an item for a job whose item cannot be read. Its text is its id, so that mock values differ."""
    item_id = job.item_id or job.id
    return Item(id=item_id, text=item_id)


def scorecard_of(job: ScoringJob) -> Scorecard:
    """Return an empty scorecard of the name that the job gives."""
    return Scorecard(
        id=job.scorecard, name=job.scorecard, source="", version=content_version(""), scores=()
    )
