"""Plexus's own claim of a job, beside our lease: it keeps Plexus's workers from a job that we have, and us from theirs.

Source: plexus/workers/scoring_job.py and the GraphQL proxy of Plexus 1.63.0. A claim names the result to come. It holds
for 120 s, and nobody can prolong it: a job that takes longer may be claimed by a worker of Plexus as well.
"""

from __future__ import annotations

import logging
from typing import Literal

import msgspec

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import ScoringJob
from plexus_scoring.model.result import result_id_of
from plexus_scoring.stores.plexus_api import documents
from plexus_scoring.stores.plexus_api.client import GraphQLClient, unavailable
from plexus_scoring.stores.plexus_api.errors import SchemaDiffers
from plexus_scoring.stores.plexus_api.handover import Ticket
from plexus_scoring.stores.plexus_api.records import Record

log = logging.getLogger(__name__)

OTHERS_CLAIM_SECONDS = 30.0
"""When a job that a worker of Plexus has claimed is looked at again. The API does not tell the claim's end."""


_FIELD = "claimScoringJob"
State = Literal["ours", "theirs", "ended", "conflict"]
_STATES: dict[str, State] = {"IN_PROGRESS": "theirs", "COMPLETED": "ended", "CONFLICT": "conflict"}


class Verdict(msgspec.Struct, frozen=True):
    """What Plexus says to a claim.

    Attributes:
        state: ``ours``: score it. ``theirs``: a worker of Plexus is at it. ``ended``: `result_id` is its result.
            ``conflict``: the job's id is that of another item or score.
        result_id: The result that the claim names.
    """

    state: State
    result_id: str


class Claims:
    """Claims jobs in Plexus where its API has that."""

    def __init__(self, client: GraphQLClient) -> None:
        self._client = client
        self._known = True

    async def claim(self, job: ScoringJob, ticket: Ticket) -> Verdict:
        """Return what Plexus says. A release that knows no claims, or no score of the job, leaves the job to us.

        Raises:
            StoreUnavailable: the API cannot be asked now, or answers something else.
        """
        ours = result_id_of(job.key)
        said = await self._ask(job, ticket, ours)
        if said is None:
            return Verdict("ours", ours)
        state, named = said.get("state"), str(said.get("scoreResultId") or ours)
        # Only this service names this result: what holds is an earlier attempt's claim, whose lease has passed to us.
        if state == "CLAIMED" or (state == "IN_PROGRESS" and named == ours):
            return Verdict("ours", named)
        try:
            return Verdict(_STATES[str(state)], named)
        except KeyError:
            raise StoreUnavailable(
                f"Plexus's API, claiming job {job.id}: unknown state {state!r}"
            ) from None

    async def _ask(self, job: ScoringJob, ticket: Ticket, result_id: str) -> Record | None:
        """Return the mutation's answer; None where this API has no such mutation, or lets it not pass."""
        if not self._known or ticket.score_id is None:
            return None
        claim = {
            "accountId": ticket.account_id,
            "scoringJobId": job.id,
            "itemId": ticket.item_id,
            "scorecardId": ticket.scorecard_id,
            "scoreId": ticket.score_id,
            "scoreResultId": result_id,
        }
        try:
            answer = await self._client.execute(documents.CLAIM, claim=claim)
        except StoreUnavailable as error:
            # A release without the mutation, or a proxy that names what it does not let pass.
            if not isinstance(error, SchemaDiffers) and _FIELD not in error.message:
                raise
            self._go_without(error)
            return None
        if refusal := answer.error(_FIELD):
            trouble = unavailable(refusal, f"claiming job {job.id}")
            if refusal.passing:
                raise trouble
            self._go_without(trouble)
            return None
        record: Record = answer.data.get(_FIELD) or {}
        return record

    def _go_without(self, error: StoreUnavailable) -> None:
        self._known = False
        log.info("Plexus's API takes no claims of jobs, so our leases alone go: %s", error)
