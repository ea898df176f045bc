"""Requests and responses as they travel, in every transport.

`parse_request` is where anything from outside becomes a typed request; whatever cannot is refused with one
line that says what is wrong. Unknown keys are kept (`extra`), not refused. The wire format is documented in
``docs/messages.md``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest
from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import DEFAULT_ACCOUNT, JobKey, NewJob, ScoringJob
from plexus_scoring.model.result import AttachmentKeys, ScoreResult
from plexus_scoring.model.scorecard import composed
from plexus_scoring.model.typed import convert

# W3C Trace Context, "traceparent Header Field Values"; later versions may append fields.
_TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,256})?"
)

MAX_ID_CHARACTERS = 512
RESPONSE_VERSION = 1


class ScoringRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to score.

    Attributes:
        scoring_job_id: The job's id within its account. For an inline job it equals `request_id`.
        request_id: The caller's id; the correlation id in every log line and response.
        account: The account that the message names, or the one that its queue belongs to.
        new: The job itself, when the message brought it along.
        reply_to: Where the caller wants the response, in transports that know it.
        traceparent: W3C trace context of the sender.
        deliveries: How often the message was delivered, this time included, as far as its broker tells.
        extra: Keys of the message that mean nothing to us.
    """

    scoring_job_id: str
    request_id: str
    account: str = DEFAULT_ACCOUNT
    new: NewJob | None = None
    reply_to: str | None = None
    traceparent: str | None = None
    deliveries: int = 1
    extra: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> JobKey:
        """What identifies the job."""
        return JobKey(self.account, self.scoring_job_id)


class ScoringResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One response. `status` is ``success`` or ``error``; costs are USD. A refused message may name no job."""

    request_id: str
    scoring_job_id: str | None
    status: str
    score_result_id: str | None = None
    value: str | None = None
    explanation: str | None = None
    confidence: float | None = None
    cost: Cost | None = None
    error: ErrorInfo | None = None
    attachments: AttachmentKeys | None = None
    undetermined: bool = False
    undetermined_reason: str | None = None
    reused: bool = False
    reply_to: str | None = None
    traceparent: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the message's JSON object, as ``docs/messages.md`` describes it."""
        body: dict[str, Any] = {
            "request_id": self.request_id,
            "scoring_job_id": self.scoring_job_id,
            "status": self.status,
            "version": RESPONSE_VERSION,
        }
        if self.status == "success":
            body |= {
                "score_result_id": self.score_result_id,
                "value": self.value,
                "explanation": self.explanation,
                "confidence": self.confidence,
            }
            if self.cost is not None:
                cost = msgspec.to_builtins(self.cost)
                cost.pop("components", None)
                body["cost"] = cost
            if self.attachments is not None:
                body["attachments"] = msgspec.to_builtins(self.attachments)
            if self.undetermined:
                body["undetermined"] = True
                if self.undetermined_reason is not None:
                    body["undetermined_reason"] = self.undetermined_reason
            if self.reused:
                body["reused"] = True
        if self.error is not None:
            body["error"] = {"code": self.error.code, "message": self.error.message}
        return body


def response_of_result(request: ScoringRequest, result: ScoreResult) -> ScoringResponse:
    """Return the success response: the same ids and values however often it is made."""
    return ScoringResponse(
        request_id=request.request_id,
        scoring_job_id=request.scoring_job_id,
        status="success",
        score_result_id=result.id,
        value=result.value,
        explanation=result.explanation,
        confidence=result.confidence,
        cost=result.cost,
        attachments=result.attachments,
        undetermined=result.undetermined,
        undetermined_reason=result.undetermined_reason,
        reused=result.reused_from is not None,
        reply_to=request.reply_to,
        traceparent=request.traceparent,
    )


def response_of_error(request: ScoringRequest, error: ErrorInfo) -> ScoringResponse:
    """Return the error response."""
    return ScoringResponse(
        request_id=request.request_id,
        scoring_job_id=request.scoring_job_id,
        status="error",
        error=error,
        reply_to=request.reply_to,
        traceparent=request.traceparent,
    )


def refused(
    error: ErrorInfo, body: object, correlation_id: str | None, *, reply_to: str | None = None
) -> ScoringResponse | None:
    """Return the error response to a message that is no request; None if neither its body nor its sender names it."""
    said = body if isinstance(body, dict) else {}

    def text(name: str) -> str | None:
        value = said.get(name)
        return value if isinstance(value, str) else None

    def identifier(name: str) -> str | None:
        try:
            return _identifier(text(name), name)
        except InvalidRequest:
            return None

    job_id = identifier("scoring_job_id")
    request_id = identifier("request_id") or job_id or correlation_id
    if not request_id:
        return None
    return ScoringResponse(
        request_id=request_id,
        scoring_job_id=job_id,
        status="error",
        error=error,
        reply_to=reply_to or text("reply_to"),
        traceparent=valid_traceparent(text("traceparent")),
    )


class _InlineObject(msgspec.Struct):
    bucket: str
    key: str
    version: str | None = None


class _InlineItem(msgspec.Struct):
    id: str | None = None
    text: str | None = None
    s3: _InlineObject | None = None
    metadata: dict[str, Any] | None = None
    external_id: str | None = None


class _Body(msgspec.Struct):
    scoring_job_id: str | None = None
    request_id: str | None = None
    scorecard: str | None = None
    score: str | None = None
    item: _InlineItem | None = None
    account: str | None = None
    reply_to: str | None = None
    traceparent: str | None = None


_KNOWN_KEYS = frozenset(field.name for field in msgspec.structs.fields(_Body))


def decode_json(body: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        InvalidRequest: not UTF-8, not JSON, or nested too deeply to be read.
    """
    try:
        value = json.loads(body)
        text = body if isinstance(body, str) else body.decode("utf-8", "replace")
        # Only an escape can smuggle a lone surrogate in; the walk over every string is for such bodies alone.
        return well_formed_value(value) if "\\ud" in text.lower() else value
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the message is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"the message is not JSON: {error.msg} at {place}") from error
    except ValueError:
        raise InvalidRequest(
            "the message is not usable: it has an integer of too many digits"
        ) from None
    except RecursionError:
        raise InvalidRequest("the message is not usable: its JSON is nested too deeply") from None


def parse_request(
    body: str | bytes | dict[str, Any],
    *,
    default_account: str = DEFAULT_ACCOUNT,
    correlation_id: str | None = None,
) -> ScoringRequest:
    """Return the typed request of a message's body.

    Args:
        body: JSON text, or the object already decoded.
        default_account: The account of a message that names none.
        correlation_id: The transport's id for the exchange. It stands in for a `request_id` that the body lacks where
            the job has an id, because both only name the response; it never becomes a job's id.

    Raises:
        InvalidRequest: the message can never be worked on; says what is wrong, in one line.
    """
    message = body if isinstance(body, dict) else decode_json(body)
    if not isinstance(message, dict):
        raise not_an_object(message)
    try:
        typed = convert(message, _Body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the message is malformed: {error}") from error
    except RecursionError:
        raise InvalidRequest("the message is not usable: its JSON is nested too deeply") from None
    extra = {key: value for key, value in message.items() if key not in _KNOWN_KEYS}
    account = _identifier(typed.account, "account") if typed.account else default_account
    if typed.scorecard is not None or typed.score is not None or typed.item is not None:
        return _inline_request(typed, extra, account)
    job_id = _identifier(typed.scoring_job_id, "scoring_job_id")
    named = typed.request_id if typed.request_id is not None else correlation_id
    return ScoringRequest(
        scoring_job_id=job_id,
        request_id=job_id if named is None else _identifier(named, "request_id"),
        account=account,
        reply_to=typed.reply_to,
        traceparent=valid_traceparent(typed.traceparent),
        extra=extra,
    )


def not_an_object(value: object) -> InvalidRequest:
    """Return the error of a message that is another JSON value than an object."""
    return InvalidRequest(
        f"the message must be a JSON object with scoring_job_id, not {_json_type(value)}"
    )


def _inline_request(typed: _Body, extra: dict[str, Any], account: str) -> ScoringRequest:
    named = typed.request_id or typed.scoring_job_id
    if named is None:
        raise InvalidRequest("the message has no request_id: give the inline job an id in its body")
    request_id = _identifier(named, "request_id")
    scorecard = composed(_identifier(typed.scorecard, "scorecard"))
    score = composed(_identifier(typed.score, "score"))
    item = typed.item
    if item is None:
        raise InvalidRequest("the inline job has no item: give item.text, item.s3 or item.id")
    inline: Item | None = None
    item_id = item.id or None
    if item.text is not None and item.s3 is not None:
        raise InvalidRequest("the inline job's item has both text and s3: give one of them")
    if item.text is not None or item.s3 is not None:
        inline = Item(
            id=item_id or request_id,
            text=item.text if item.text is None else well_formed(item.text),
            metadata=item.metadata or {},
            external_id=item.external_id,
            s3=ObjectRef(item.s3.bucket, item.s3.key, item.s3.version) if item.s3 else None,
        )
    elif item_id is None:
        raise InvalidRequest("the inline job's item is empty: give item.text, item.s3 or item.id")
    return ScoringRequest(
        scoring_job_id=request_id,
        request_id=request_id,
        account=account,
        new=NewJob(
            id=request_id,
            request_id=request_id,
            scorecard=scorecard,
            score=score,
            item_id=inline.id if inline else item_id,
            item=inline,
            account=account,
        ),
        reply_to=typed.reply_to,
        traceparent=valid_traceparent(typed.traceparent),
        extra=extra,
    )


def encode_request(job: ScoringJob | NewJob, *, traceparent: str | None = None) -> str:
    """Return the message body that asks for a stored job; it names any account but the default one."""
    body: dict[str, str] = {"scoring_job_id": job.id}
    if job.request_id:
        body["request_id"] = job.request_id
    if job.account != DEFAULT_ACCOUNT:
        body["account"] = job.account
    if traceparent:
        body["traceparent"] = traceparent
    return json.dumps(body)


def well_formed(text: str) -> str:
    """Return `text` with lone surrogates replaced by U+FFFD: JSON can carry them, UTF-8 stores cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def well_formed_value(value: Any) -> Any:
    """Return a decoded JSON value with `well_formed` keys and strings. Raises RecursionError."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [well_formed_value(part) for part in value]
    if isinstance(value, dict):
        return {well_formed(key): well_formed_value(part) for key, part in value.items()}
    return value


def valid_traceparent(value: str | None) -> str | None:
    """Return a W3C trace context, or None for what is none: W3C has a receiver ignore that."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def _identifier(value: str | None, name: str) -> str:
    if value is None:
        raise InvalidRequest(f"the message has no {name}")
    if not value.strip():
        raise InvalidRequest(f"the message's {name} is empty")
    if len(value) > MAX_ID_CHARACTERS:
        raise InvalidRequest(f"the message's {name} is longer than {MAX_ID_CHARACTERS} characters")
    if not value.isprintable():
        raise InvalidRequest(f"the message's {name} has characters that are not printable")
    return value


def _json_type(value: object) -> str:
    names = {
        list: "an array",
        str: "a string",
        int: "a number",
        float: "a number",
        bool: "a boolean",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
