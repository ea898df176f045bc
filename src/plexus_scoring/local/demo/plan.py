"""What goes into the demo: jobs, and the mishaps that a queue brings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from plexus_scoring.local.demo.examples import CALLS, ESSAYS, LONG_ITEM, Examples
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import NewJob
from plexus_scoring.model.messages import encode_request

ACCOUNT = "local"
FLAKY_ITEM = "call-outage-rural"
"""The model endpoint fails once for this transcript (`gateway.Gateway`)."""

_CALL_SCORES = ("Overall Quality", "Topic", "Customer Sentiment")
_ESSAY_SCORES = ("Grade", "Readability", "Topic")
# Two of these customers speak of leaving; for the others the score is skipped.
_RETENTION = ("call-cancel-price", "call-cancel-no-offer", "call-smart-meter", "call-sales-new")
_STAND_IN_CALLS = 6


class Mishap(StrEnum):
    """Why an entry is in the plan."""

    NONE = "job"
    DUPLICATE = "job, its message delivered twice"
    FLAKY = "job, its model fails once"
    LONG = "job, text above DynamoDB's limit"
    EMPTY = "job, empty text"
    IN_BUCKET = "job, text in the bucket"
    OBJECT_MISSING = "job, its object never arrives"
    SCORE_MISSING = "job, names a score that is not there"
    UNMET = "job, its dependency is unmet"
    POISON = "poison message"
    UNKNOWN = "message of an unknown job"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One piece of work.

    Attributes:
        id: Job and request id; for a poison message a name for the table.
        body: The message.
        mishap: What is special about it.
        job: The job to store before the message is sent; None where there is none.
        deliveries: How often the message is sent.
    """

    id: str
    body: str
    mishap: Mishap = Mishap.NONE
    job: NewJob | None = None
    deliveries: int = 1


def bucket_item(bucket: str) -> tuple[Item, bytes]:
    """Return an item whose text lies in the bucket, and that text."""
    text = (
        "Agent: Thank you for calling Northwind, my name is Edda, how can I help?\nCustomer: "
        + ("It is about the price of the second line. I have read the letter twice. " * 40)
    )
    key = "inbox/call-second-line.txt"
    return Item(id="call-second-line", s3=ObjectRef(bucket, key)), text.encode()


def make_plan(examples: Examples, *, bucket: str, real_model: bool) -> list[Entry]:
    """Return what the demo submits, in the order of sending.

    Args:
        examples: Scorecards and items.
        bucket: Bucket of the deployment.
        real_model: Ask the model about every transcript; else a stand-in about a few.
    """
    entries = [
        _entry(CALLS, score, item.id, mishap=_mishap(item))
        for item in examples.calls()
        for score in _CALL_SCORES
    ]
    entries += [
        _entry(ESSAYS, score, item.id, mishap=_mishap(item))
        for item in examples.essays()
        for score in _ESSAY_SCORES
    ]
    entries += [_entry(CALLS, "Retention Offer", item) for item in _RETENTION[:2]]
    entries += [
        _entry(CALLS, "Retention Offer", item, mishap=Mishap.UNMET) for item in _RETENTION[2:]
    ]
    asked = [item.id for item in examples.calls() if item.text and item.id != FLAKY_ITEM]
    asked = asked if real_model else asked[: _STAND_IN_CALLS - 1]
    entries += [_entry(CALLS, "Empathy", item) for item in asked]
    entries.append(_entry(CALLS, "Empathy", FLAKY_ITEM, mishap=Mishap.FLAKY))
    entries.append(_entry(CALLS, "Greeting", "call-second-line", mishap=Mishap.IN_BUCKET))
    entries.append(_entry(CALLS, "Sarcasm", "call-emoji-chat", mishap=Mishap.SCORE_MISSING))
    entries.append(_missing_object(bucket))
    for item in ("call-billing-dispute", "essay-bicycles", "call-emoji-chat"):
        scorecard = ESSAYS if item.startswith("essay") else CALLS
        entries.append(
            _entry(scorecard, _first_other(scorecard), item, mishap=Mishap.DUPLICATE, deliveries=2)
        )
    return [*entries, *_poison()]


def _first_other(scorecard: str) -> str:
    return "Length" if scorecard == ESSAYS else "Hold Handling"


def _poison() -> list[Entry]:
    unknown = "demo-no-such-job"
    return [
        Entry(id="not JSON", body="{'scoring_job_id': demo", mishap=Mishap.POISON),
        Entry(id="not an object", body='["scoring_job_id"]', mishap=Mishap.POISON),
        Entry(id="no job id", body='{"hello": "world"}', mishap=Mishap.POISON),
        Entry(id=unknown, body=json.dumps({"scoring_job_id": unknown}), mishap=Mishap.UNKNOWN),
    ]


def _missing_object(bucket: str) -> Entry:
    item = Item(id="call-never-uploaded", s3=ObjectRef(bucket, "inbox/call-never-uploaded.txt"))
    return _entry(CALLS, "Greeting", item.id, item=item, mishap=Mishap.OBJECT_MISSING)


def _mishap(item: Item) -> Mishap:
    if item.id == LONG_ITEM:
        return Mishap.LONG
    return Mishap.NONE if item.text else Mishap.EMPTY


def _entry(
    scorecard: str,
    score: str,
    item_id: str,
    *,
    item: Item | None = None,
    mishap: Mishap = Mishap.NONE,
    deliveries: int = 1,
) -> Entry:
    job_id = f"demo-{item_id}-{score.lower().replace(' ', '-')}"
    job = NewJob(
        id=job_id,
        request_id=job_id,
        scorecard=scorecard,
        score=score,
        item_id=item_id,
        item=item,
        account=ACCOUNT,
    )
    return Entry(id=job_id, body=encode_request(job), mishap=mishap, job=job, deliveries=deliveries)
