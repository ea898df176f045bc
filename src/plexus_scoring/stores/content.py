"""Whether two jobs ask for the same: the digest of what a job's key stands for."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.job import NewJob, ScoringJob
from plexus_scoring.stores.codec import decode, encode


def content_digest(job: NewJob | ScoringJob) -> str:
    """Return a hash of scorecard, score and item: the same for a stored job and for what it was made from.

    Neither the order of keys nor the difference between an absent and a null field counts. Raises InvalidRequest
    for what JSON cannot say.
    """
    item = job.item
    content: dict[str, Any] = {
        "scorecard": job.scorecard,
        "score": job.score,
        "item_id": job.item_id or (None if item is None else item.id),
    }
    if item is not None:
        content |= {
            "text": item.text,
            "s3": None if item.s3 is None else [item.s3.bucket, item.s3.key],
            "metadata": item.metadata,
            "external_id": item.external_id or None,
            "attached_files": item.attached_files,
        }
    # Through the stores' own JSON first: what comes out of a store must not differ from what went in.
    stored = decode(encode(content), dict[str, Any])
    return hashlib.sha256(msgspec.json.encode(stored, order="sorted")).hexdigest()


def check_same(stored: ScoringJob, new: NewJob | ScoringJob) -> None:
    """Raise InvalidRequest unless the stored job has the content of the new one."""
    if content_digest(stored) != content_digest(new):
        raise other_content(new.id)


def other_content(job_id: str) -> InvalidRequest:
    """Return the error for a job whose id stands for something else."""
    return InvalidRequest(
        f"job {job_id}: the id is used already for another scorecard, score or item in this account; use a new id"
    )
