"""How stores write documents: JSON whose text every database takes.

A lone surrogate (JSON can carry one, UTF-8 cannot) becomes U+FFFD. A NUL stays, as the six ASCII characters
of its JSON escape. Numbers keep their JSON meaning, so no store's own number type rounds them.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from plexus_scoring.model import typed
from plexus_scoring.model.errors import ErrorInfo, InvalidRequest, StoreUnavailable, shorten
from plexus_scoring.model.job import DEFAULT_ACCOUNT, JobKey
from plexus_scoring.model.messages import MAX_ID_CHARACTERS, well_formed
from plexus_scoring.model.result import ScoreResult

T = TypeVar("T")

# DynamoDB ends sort keys at 1,024 bytes and PostgreSQL index entries at 2,704; prefixes and a second id must fit.
MAX_ID_BYTES = 960


def encode(value: Any) -> bytes:
    """Return `value` as JSON in UTF-8. Raises InvalidRequest for what JSON cannot say."""
    try:
        try:
            return msgspec.json.encode(value)
        except UnicodeEncodeError:
            return msgspec.json.encode(_clean(msgspec.to_builtins(value)))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise _unstorable(value, error) from error


def decode(body: bytes | str, as_type: type[T]) -> T:
    """Return a document as its type. Raises StoreUnavailable for one that another version wrote."""
    try:
        return typed.decode(body, as_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreUnavailable(
            f"a stored {as_type.__name__} cannot be read: {shorten(str(error))}; "
            "was it written by a newer version?"
        ) from error


def round_trip(value: T) -> T:
    """Return `value` as it would come back from a database. Raises InvalidRequest for what does not come back.

    From Python 3.14 on, the size of the stack bounds the depth that can be written, and reading may take more of it.
    """
    try:
        return typed.decode(encode(value), type(value))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unstorable(value, error) from error


def _unstorable(value: Any, error: Exception) -> InvalidRequest:
    return InvalidRequest(f"{type(value).__name__} cannot be stored as JSON: {shorten(str(error))}")


def check_id(value: str, what: str) -> str:
    """Return `value` if every store can hold it as a key. Raises InvalidRequest."""
    if not value:
        raise InvalidRequest(f"{what} is empty")
    if len(value) > MAX_ID_CHARACTERS:
        raise InvalidRequest(f"{what} is longer than {MAX_ID_CHARACTERS} characters")
    if "\0" in value or well_formed(value) != value:
        raise InvalidRequest(f"{what} has characters that cannot be stored: {value!a}")
    if len(value.encode()) > MAX_ID_BYTES:
        raise InvalidRequest(f"{what} is longer than {MAX_ID_BYTES} bytes")
    return value


def is_id(value: str) -> bool:
    """Whether anything can be stored under this id; if not, nothing is."""
    try:
        check_id(value, "the id")
    except InvalidRequest:
        return False
    return True


def is_key(key: JobKey) -> bool:
    """Whether a job can be stored under this key; if not, none is."""
    return is_id(key.id) and is_id(key.account)


def memo_key(
    *,
    item_digest: str | None,
    score_version: str | None,
    score: str,
    account: str = DEFAULT_ACCOUNT,
) -> str | None:
    """Return the key under which a result of the account is found again; None where it must not be."""
    if item_digest is None or score_version is None:
        return None
    parts = [item_digest, score_version, score]
    if account != DEFAULT_ACCOUNT:
        parts.append(account)
    return hashlib.sha256(msgspec.json.encode([ascii(part) for part in parts])).hexdigest()


def memo_key_of(result: ScoreResult) -> str | None:
    """Return the key under which a stored result is found again; None where it must not be."""
    return memo_key(
        item_digest=result.item_digest,
        score_version=result.score_version,
        score=result.score,
        account=result.account,
    )


def bounded(error: ErrorInfo | None) -> ErrorInfo | None:
    """Return an error with a message of bounded length: it is stored beside the state."""
    if error is None:
        return None
    return msgspec.structs.replace(error, message=well_formed(shorten(error.message)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return value
