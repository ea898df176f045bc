"""Turns an object that arrived in S3 into a request.

A ``.json`` object is a request, as ``docs/messages.md`` describes it. Any other object is an item's text, and its key
says what to do with it: ``…/{scorecard}/{score}/{item id}.{ending}``.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

import msgspec

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.messages import ScoringRequest, decode_json, parse_request
from plexus_scoring.ports import AttachmentStore
from plexus_scoring.transports.lambda_events import ObjectCreated

_LEVELS = 3


async def request_of_object(
    arrived: ObjectCreated, attachments: AttachmentStore, *, default_account: str
) -> ScoringRequest:
    """Return the request; its id derives from bucket, key and version, so a second notification is a duplicate.

    Raises:
        InvalidRequest: the object is no request, or its key does not name scorecard, score and item.
        NotFound, StoreUnavailable: the object cannot be read.
    """
    ref = arrived.ref
    identity = f"{ref.bucket}/{ref.key}@{arrived.tag}".encode()
    request_id = f"s3-{hashlib.sha256(identity).hexdigest()[:32]}"
    path = PurePosixPath(ref.key)
    if path.suffix.lower() == ".json":
        body = decode_json(await attachments.read(ref))
        if isinstance(body, dict) and "scoring_job_id" not in body:
            body.setdefault("request_id", request_id)
        return parse_request(body, default_account=default_account)
    if len(path.parts) < _LEVELS:
        raise InvalidRequest(
            f"s3://{ref.bucket}/{ref.key}: the key must end in scorecard/score/item, or in .json for a request"
        )
    scorecard, score = path.parts[-3:-1]
    return parse_request(
        {
            "request_id": request_id,
            "scorecard": scorecard,
            "score": score,
            "item": {"id": path.stem, "s3": msgspec.to_builtins(ref)},
        },
        default_account=default_account,
    )
