"""Brings together what a score needs: the item with its text, and the scorecard."""

from __future__ import annotations

import msgspec

from plexus_scoring.model.errors import InvalidRequest, NotFound, ScorecardError
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import ScoringJob
from plexus_scoring.model.messages import well_formed
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import AttachmentStore, Catalog
from plexus_scoring.service import stand_ins
from plexus_scoring.service.policy import Policy


async def load(
    job: ScoringJob, catalog: Catalog, attachments: AttachmentStore, policy: Policy
) -> tuple[Item, Scorecard]:
    """Return the job's item with its text, and its scorecard. In mock mode, what cannot be read is made up.

    Raises:
        InvalidRequest, NotFound, StoreUnavailable: as `load_item`, and for the scorecard.
        ScorecardError: the scorecard's text cannot be read.
    """
    try:
        item = await load_item(job, catalog, attachments, max_bytes=policy.max_item_bytes)
    except (NotFound, InvalidRequest):
        if not policy.mock:
            raise
        item = stand_ins.item_of(job)
    try:
        scorecard = await catalog.scorecard(job.scorecard, account=job.account)
    except (NotFound, InvalidRequest, ScorecardError):
        if not policy.mock:
            raise
        scorecard = stand_ins.scorecard_of(job)
    return item, scorecard


async def load_item(
    job: ScoringJob, catalog: Catalog, attachments: AttachmentStore, *, max_bytes: int
) -> Item:
    """Return the job's item with its text inline.

    Raises:
        InvalidRequest: the job names no item, the item has no text, or its text cannot be read as UTF-8.
        NotFound: the item, or the object that holds its text, does not exist.
        StoreUnavailable: they cannot be reached now.
    """
    if job.item is not None and (job.item.text is not None or job.item.s3 is not None):
        item = job.item
    elif job.item_id:
        item = await catalog.item(job.item_id, account=job.account)
    else:
        raise InvalidRequest(f"job {job.id} names no item")
    if item.text is not None:
        return item
    if item.s3 is None:
        raise InvalidRequest(f"item {item.id} has no text")
    body = await attachments.read(item.s3)
    place = f"s3://{item.s3.bucket}/{item.s3.key}"
    if len(body) > max_bytes:
        raise InvalidRequest(
            f"item {item.id}: {place} has {len(body)} bytes, more than PLEXUS_MAX_ITEM_BYTES={max_bytes}"
        )
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"item {item.id}: {place} is not UTF-8 text (byte {error.start})"
        ) from error
    return msgspec.structs.replace(item, text=well_formed(text))
