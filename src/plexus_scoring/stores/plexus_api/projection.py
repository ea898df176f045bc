"""Writes what happened to a job into Plexus: states, results, and the records of jobs that came to us elsewhere.

Our own store decides; what stands here follows, and may be written again at any time: creations carry an id that
derives from the job's, updates a condition.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

import msgspec

from plexus_scoring.model.errors import NotFound, ScorecardError, StoreUnavailable
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import ScoreResult
from plexus_scoring.ports import AttachmentStore, Catalog, Clock
from plexus_scoring.stores.plexus_api import documents, records
from plexus_scoring.stores.plexus_api.accounts import Accounts
from plexus_scoring.stores.plexus_api.client import Answer, GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.handover import MAX_TRACE_BYTES, Handover, Ticket
from plexus_scoring.stores.plexus_api.records import Record

log = logging.getLogger(__name__)

# Fixed for ever: an inline item's record has the same id however often its job is created.
_ITEM_NAMESPACE = uuid.UUID("b8b7a3d6-0f0e-5d0b-8d33-6f0a6e9d1c55")
_REFUSED_VALUES = frozenset({"ERROR", "DISABLED"})


class Projection:
    """The API's side of a job.

    Args:
        client: The API.
        accounts: Ids of accounts.
        catalog: Where names of scorecards and scores become ids.
        attachments: Where a trace is read back if another process wrote it; None: results go without.
        handover: What the job's claim already read.
        clock: Time.
    """

    def __init__(
        self,
        client: GraphQLClient,
        *,
        accounts: Accounts,
        catalog: Catalog,
        attachments: AttachmentStore | None,
        handover: Handover,
        clock: Clock,
    ) -> None:
        self._client = client
        self._accounts = accounts
        self._catalog = catalog
        self._attachments = attachments
        self._handover = handover
        self._clock = clock

    async def created(self, job: ScoringJob) -> bool:
        """Make the records of a job that came to us; False if a job of that id is there already."""
        ticket = await self._new_ticket(job)
        now = records.timestamp(self._clock.now())
        item = job.item
        values: Record = {
            "id": job.id,
            "status": job.status.value,
            "accountId": ticket.account_id,
            "itemId": ticket.item_id,
            "scorecardId": ticket.scorecard_id,
            "scoreId": ticket.score_id,
            "metadata": records.awsjson(job.metadata) if job.metadata else None,
            "createdAt": records.timestamp(job.created_at),
            "startedAt": now if job.status is JobStatus.IN_PROGRESS else None,
        }
        if item is None:
            operation, variables = documents.CREATE_JOB, {}
        else:
            operation = documents.CREATE_JOB_WITH_ITEM
            variables = {"item": self._item_values(item, ticket, now)}
        answer = await self._client.execute(
            operation, job=records.without_nothing(values), **variables
        )
        self._check(answer, "item", "creating the item")
        made = self._check(answer, "job", f"creating job {job.id}")
        if made:
            self._handover.tickets.put(job.key, ticket)
        return made

    async def ticket(self, job: ScoringJob) -> Ticket:
        """Return the job's ids in the API."""
        return self._handover.tickets.get(job.key) or await self._new_ticket(job)

    async def status(self, job: ScoringJob, **fields: Any) -> bool:
        """Write a job's status; False where Plexus's record is missing, another account's or COMPLETED."""
        values = {"id": job.id, "status": job.status.value, **fields}
        answer = await self._client.execute(
            documents.UPDATE_JOB, job=values, condition=await self._condition(job)
        )
        return self._check(answer, "job", f"updating job {job.id}")

    async def started(self, job: ScoringJob) -> bool:
        """Write IN_PROGRESS."""
        return await self.status(
            job, startedAt=records.timestamp(job.started_at or self._clock.now())
        )

    async def released(self, job: ScoringJob) -> None:
        """Write PENDING, as far as can be: the next claim says IN_PROGRESS whatever stands there."""
        try:
            await self.status(job)
        except StoreUnavailable as error:
            log.warning("job %s is not shown as PENDING in Plexus: %s", job.id, error)

    async def failed(self, job: ScoringJob) -> None:
        """Write FAILED with the error."""
        message = job.last_error.message if job.last_error else "failed"
        await self.status(
            job,
            completedAt=records.timestamp(job.completed_at or self._clock.now()),
            errorMessage=message[: records.MAX_ERROR_CHARACTERS],
        )

    async def redriven(self, job: ScoringJob) -> None:
        """Write PENDING, and that nothing failed yet."""
        await self.status(job, completedAt=None, errorMessage=None)

    async def completed(self, job: ScoringJob, result: ScoreResult) -> None:
        """Write the result, then COMPLETED, in one round trip. Raises StoreUnavailable."""
        ticket = self._handover.tickets.pop(job.key) or await self._new_ticket(job)
        values = await self._result_values(result, ticket)
        done = records.timestamp(job.completed_at or self._clock.now())
        answer = await self._client.execute(
            documents.PUBLISH,
            result=values,
            job={
                "id": job.id,
                "status": JobStatus.COMPLETED.value,
                "completedAt": done,
                "errorMessage": None,
            },
            condition={"accountId": {"eq": ticket.account_id}},
        )
        self._check(answer, "result", f"writing the result of job {job.id}")
        if not self._check(answer, "job", f"completing job {job.id}"):
            log.warning("job %s has no record in Plexus any more; its result has one", job.id)

    async def _condition(self, job: ScoringJob) -> Record:
        """Return the condition under which a job's record may be touched."""
        ticket = self._handover.tickets.get(job.key)
        account_id = ticket.account_id if ticket else await self._accounts.id_of(job.account)
        return {"accountId": {"eq": account_id}, "status": {"ne": JobStatus.COMPLETED.value}}

    async def _new_ticket(self, job: ScoringJob | NewJob) -> Ticket:
        """Return a job's ids in the API where no claim brought them. Names that Plexus does not know stay names."""
        scorecard_id, score_id = job.scorecard, job.score
        try:
            scorecard = await self._catalog.scorecard(job.scorecard, account=job.account)
        except (NotFound, ScorecardError):
            pass
        else:
            scorecard_id = scorecard.id
            score_id = next(
                (
                    score.id
                    for score in scorecard.scores
                    if job.score in (score.id, score.name, score.key, score.external_id)
                ),
                job.score,
            )
        item_id = job.item_id
        if job.item is not None:
            item_id = str(uuid.uuid5(_ITEM_NAMESPACE, job.key.text))
        return Ticket(
            account_id=await self._accounts.id_of(job.account),
            item_id=records.reference(item_id),
            scorecard_id=records.reference(scorecard_id),
            score_id=score_id or None,
            item_external_id=job.item.external_id if job.item else None,
        )

    def _item_values(self, item: Item, ticket: Ticket, now: str) -> Record:
        """Return an inline item's record: a copy to look at, the job itself brings the original along."""
        return records.without_nothing(
            {
                "id": ticket.item_id,
                "accountId": ticket.account_id,
                "externalId": item.external_id or item.id or None,
                "text": records.cut(item.text, records.MAX_TEXT_BYTES),
                "metadata": records.awsjson(item.metadata) if item.metadata else None,
                "isEvaluation": False,
                "createdByType": "prediction",
                "createdAt": now,
            }
        )

    async def _result_values(self, result: ScoreResult, ticket: Ticket) -> Record:
        """Return the record as Plexus's own worker writes it, with confidence and version besides."""
        facts = {
            **result.metadata,
            "source": "Worker",
            "cached_at": records.timestamp(result.created_at),
            "external_id": ticket.item_external_id,
            "explanation": records.cut(result.explanation, records.MAX_FIELD_BYTES // 4),
            "attempt": result.attempt,
            "item_digest": result.item_digest,
            "score_version": result.score_version,
            "reused_from": result.reused_from,
            "undetermined": result.undetermined or None,
            "undetermined_reason": result.undetermined_reason,
        }
        facts = records.without_nothing(facts)
        metadata = records.awsjson(facts)
        if metadata is None:
            metadata = records.awsjson({k: v for k, v in facts.items() if k not in result.metadata})
        version = None
        if result.score_version is not None:
            version = self._handover.champions.get((result.score_version, result.score))
        keys = [key for key in (result.attachments.trace, result.attachments.log) if key]
        return records.without_nothing(
            {
                "id": result.id,
                "value": records.cut(result.value),
                "itemId": ticket.item_id,
                "accountId": ticket.account_id,
                "scorecardId": ticket.scorecard_id,
                "scoreId": ticket.score_id,
                "scoreVersionId": version,
                "scoringJobId": result.job_id,
                "explanation": records.cut(result.explanation),
                "confidence": result.confidence,
                "metadata": metadata,
                "cost": records.awsjson(msgspec.to_builtins(result.cost)),
                "trace": await self._trace(result.attachments.trace),
                "attachments": keys or None,
                "code": "200",
                "type": "prediction",
                "status": "COMPLETED",
                "createdAt": records.timestamp(result.created_at),
            }
        )

    async def _trace(self, key: str | None) -> str | None:
        if key is None:
            return None
        body = self._handover.traces.pop(key)
        if body is None and self._attachments is not None:
            try:
                body = await self._attachments.get(key)
            except (NotFound, StoreUnavailable) as error:
                log.warning("the result goes to Plexus without its trace: %s", error)
        if body is None or len(body) > MAX_TRACE_BYTES:
            return None
        return body.decode("utf-8", "replace")

    def _check(self, answer: Answer, field: str, what: str) -> bool:
        """Whether a mutation was done; False if its condition refused it. Raises StoreUnavailable otherwise."""
        error = answer.error(field)
        if error is None:
            return True
        if error.condition_refused:
            return False
        raise unavailable(error, what)


def reusable(result: ScoreResult | None) -> ScoreResult | None:
    """Return the result unless its value says that there was none."""
    if result is None or result.value.strip().upper() in _REFUSED_VALUES:
        return None
    return result
