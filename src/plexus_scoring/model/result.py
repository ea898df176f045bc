"""What scoring leaves behind."""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import InvalidRequest, shorten

if TYPE_CHECKING:
    from plexus_scoring.model.job import JobKey

# Fixed for ever: the ids of stored results derive from them. Jobs of account "default" have had theirs from the id
# alone; a namespace of its own keeps the others apart from these, whatever the ids are.
_RESULT_NAMESPACE = uuid.UUID("6f1c3f0e-5a1b-5d0e-9a52-2f1d0c8f7b11")
_ACCOUNT_RESULT_NAMESPACE = uuid.UUID("f5b0b5a4-6a52-5c0e-8f0d-3c1b9d2e7a46")
_RESULTS = "scoreresults/"


@functools.lru_cache(maxsize=1024)  # one job asks several times, while others are in work
def result_id_of(key: JobKey) -> str:
    """Return the one id that the result of this job can have, so that no job can have two."""
    if key.account == "default":
        return str(uuid.uuid5(_RESULT_NAMESPACE, key.id))
    return str(uuid.uuid5(_ACCOUNT_RESULT_NAMESPACE, key.text))


class ScoreOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine answers.

    Attributes:
        value: The score's value, as text (upstream's results are text).
        explanation: Why, for a person.
        confidence: 0..1, where the score computes one.
        cost: Of the target score; `dependencies_cost` is what the scores it depends on cost.
        trace: JSON-able record of every node's input and output; None or empty: nothing to keep.
        undetermined: The value cannot be relied on: the model gave no usable answer, or one that was cut or withheld.
        undetermined_reason: Which of these, and of which node.
        metadata: Further facts of the engine, stored with the result.
    """

    value: str
    explanation: str | None = None
    confidence: float | None = None
    cost: Cost = msgspec.field(default_factory=Cost)
    dependencies_cost: Cost = msgspec.field(default_factory=Cost)
    trace: dict[str, Any] | None = None
    undetermined: bool = False
    undetermined_reason: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class AttachmentKeys(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Keys of the files stored beside a result; None where there was nothing to store."""

    trace: str | None = None
    log: str | None = None


def attachment_keys(result_id: str, failed_attempt: int | None = None) -> AttachmentKeys:
    """Return the keys of a result's trace and log, or of those that a failed attempt left."""
    folder = f"{_RESULTS}{result_id}"
    if failed_attempt is not None:
        folder += f"/attempts/{failed_attempt}"
    return AttachmentKeys(trace=f"{folder}/trace.json", log=f"{folder}/log.txt")


def check_no_result(key: str) -> None:
    """Raise InvalidRequest for a key of a result's file: whoever sends a message could name another account's."""
    if key.casefold().startswith(_RESULTS):
        raise InvalidRequest(
            f"key {shorten(key, 80)!a} belongs to a result: put the item's text under another key"
        )


class ScoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """A stored result. `id` derives from account and `job_id` (see `result_id_of`).

    Attributes:
        score_version: Content version of the scorecard that gave the value.
        item_digest: Hash of the item's content; with `score_version` the key of reuse.
        attempt: The attempt that gave the value, from 1.
        reused_from: Id of the earlier result whose value this is, if it was reused.
    """

    id: str
    job_id: str
    scorecard: str
    score: str
    value: str
    created_at: float
    item_id: str | None = None
    account: str = "default"
    explanation: str | None = None
    confidence: float | None = None
    cost: Cost = msgspec.field(default_factory=Cost)
    dependencies_cost: Cost = msgspec.field(default_factory=Cost)
    undetermined: bool = False
    undetermined_reason: str | None = None
    attempt: int = 1
    score_version: str | None = None
    item_digest: str | None = None
    attachments: AttachmentKeys = msgspec.field(default_factory=AttachmentKeys)
    reused_from: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
