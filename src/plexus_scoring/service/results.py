"""Makes the stored result of what an engine answered, and writes the files beside it."""

from __future__ import annotations

import asyncio
import json
import logging

import msgspec

from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import describe, loggable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import ScoringJob
from plexus_scoring.model.result import (
    AttachmentKeys,
    ScoreOutcome,
    ScoreResult,
    attachment_keys,
    result_id_of,
)
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import AttachmentStore
from plexus_scoring.telemetry.logs import JobScope

log = logging.getLogger(__name__)

_KEEP_SECONDS = 2.0
"""How long an attempt's log may take to store: less than a function keeps for giving its jobs back."""


def new_result(
    job: ScoringJob,
    item: Item,
    scorecard: Scorecard,
    outcome: ScoreOutcome,
    keys: AttachmentKeys,
    now: float,
) -> ScoreResult:
    """Return the result of a job that was scored."""
    return ScoreResult(
        id=result_id_of(job.key),
        job_id=job.id,
        scorecard=job.scorecard,
        score=job.score,
        value=outcome.value,
        created_at=now,
        item_id=item.id,
        account=job.account,
        explanation=outcome.explanation,
        confidence=outcome.confidence,
        cost=outcome.cost,
        dependencies_cost=outcome.dependencies_cost,
        undetermined=outcome.undetermined,
        undetermined_reason=outcome.undetermined_reason,
        attempt=job.attempt,
        score_version=scorecard.version,
        item_digest=item.digest(),
        attachments=keys,
        metadata=outcome.metadata,
    )


def reused_result(job: ScoringJob, earlier: ScoreResult, now: float) -> ScoreResult:
    """Return the result of a job whose answer an earlier job has found already.

    Nothing was spent on this job, so its costs are zero; the earlier result keeps what was.
    """
    return msgspec.structs.replace(
        earlier,
        id=result_id_of(job.key),
        job_id=job.id,
        item_id=job.item_id,
        account=job.account,
        attempt=job.attempt,
        created_at=now,
        reused_from=earlier.reused_from or earlier.id,
        cost=Cost(),
        dependencies_cost=Cost(),
    )


async def attach(
    attachments: AttachmentStore, keys: AttachmentKeys, trace: object, text: str
) -> AttachmentKeys:
    """Write trace and log, and return the keys of what was written: what is empty is not.

    Raises:
        StoreUnavailable: they cannot be written now.
    """
    trace_key = keys.trace if trace else None
    log_key = keys.log if text else None
    writes = []
    if trace_key is not None:
        # Escaped to ASCII: a model may answer text that UTF-8 cannot hold.
        body = json.dumps(trace, default=str).encode()
        writes.append(attachments.put(trace_key, body, content_type="application/json"))
    if log_key is not None:
        body = text.encode("utf-8", "backslashreplace")
        writes.append(attachments.put(log_key, body, content_type="text/plain; charset=utf-8"))
    await asyncio.gather(*writes)
    return AttachmentKeys(trace=trace_key, log=log_key)


async def keep_attempt(attachments: AttachmentStore, job: ScoringJob, scope: JobScope) -> None:
    """Write the log and the trace of an attempt that failed. How the job goes on does not depend on them."""
    keys = attachment_keys(result_id_of(job.key), job.attempt)
    trace = {"node_results": scope.trace} if scope.trace else None
    try:
        async with asyncio.timeout(_KEEP_SECONDS):
            await attach(attachments, keys, trace, scope.text())
    except Exception as error:  # noqa: BLE001  see above
        log.warning("the attempt's log is not stored: %s", loggable(describe(error)))
