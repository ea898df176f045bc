"""What the user hands to a command: a scorecard's file, an item, metadata."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from plexus_scoring.model.errors import InvalidRequest, ScorecardError
from plexus_scoring.model.item import Item
from plexus_scoring.model.messages import well_formed_value
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.model.scorecard_yaml import load_scorecard

STDIN = "-"
_MAX_BYTES = 50_000_000  # of files that have a smaller limit of their own once they are read
_ITEM_KEYS = {"id", "text", "metadata", "external_id"}


def read_stdin_once(*files: str) -> None:
    """Raise InvalidRequest if stdin is to be more than one of these files."""
    if files.count(STDIN) > 1:
        raise InvalidRequest("stdin (-) is named twice, but can be read once")


def read_scorecard(file: str) -> Scorecard:
    """Return the scorecard of a YAML file. Raises InvalidRequest (no such file), ScorecardError."""
    return load_scorecard(read_text(file), file=file)


def read_text(file: str) -> str:
    """Return a scorecard file's text. Raises InvalidRequest (no such file), ScorecardError (not UTF-8)."""
    body = _read(file, "scorecard")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(body[: error.start].decode("utf-8", "replace"))
        message = "the file is not UTF-8 text: save it as UTF-8"
        raise ScorecardError(message, file=file, line=line, column=column) from error


def read_item(file: str, *, max_bytes: int, metadata: dict[str, Any] | None = None) -> Item:
    """Return the item of a file or of stdin (``-``).

    A ``.json`` file is ``{id?, text, metadata?, external_id?}``; anything else is the text itself. `metadata` is laid
    over the item's own, key by key.

    Raises:
        InvalidRequest: no such file, too large, not UTF-8, not such an object; with ``file:line:column`` for JSON.
    """
    body = _read(file, "item", at_most=max_bytes)
    if len(body) > max_bytes:
        raise InvalidRequest(f"{file}: the item has more than PLEXUS_MAX_ITEM_BYTES={max_bytes}")
    text = _decode(file, body)
    if file != STDIN and file.lower().endswith(".json"):
        item = _json_item(file, text)
    else:
        item = Item(id="stdin" if file == STDIN else Path(file).stem, text=text)
    if not metadata:
        return item
    return Item(
        id=item.id,
        text=item.text,
        metadata=item.metadata | metadata,
        external_id=item.external_id,
    )


def read_metadata(given: str | None) -> dict[str, Any]:
    """Return the metadata of ``--metadata``: a JSON object, or the name of a file that holds one.

    Raises:
        InvalidRequest: neither an object nor such a file.
    """
    if given is None:
        return {}
    if given.lstrip().startswith("{"):
        name, text = "--metadata", given
    elif Path(given).is_file():
        name, text = given, _decode(given, _read(given, "metadata"))
    else:
        raise InvalidRequest(
            f"--metadata: {given[:80]!r} is neither a JSON object nor a file that exists"
        )
    value = _json(name, text)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: metadata must be a JSON object, not {_kind(value)}")
    return value


def read_event(file: str) -> bytes:
    """Return the JSON text of a function's event. Raises InvalidRequest (no such file, not JSON)."""
    body = _read(file, "event")
    _json("stdin" if file == STDIN else file, _decode(file, body))
    return body


def _json_item(file: str, text: str) -> Item:
    value = _json(file, text)
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"{file}: an item is a JSON object with text, not {_kind(value)}; name plain text .txt"
        )
    if value.get("text") is None:
        unknown = sorted(value.keys() - _ITEM_KEYS)
        hint = f" (it has {', '.join(map(repr, unknown[:5]))})" if unknown else ""
        raise InvalidRequest(f"{file}: the item has no text{hint}")
    if not isinstance(value["text"], str):
        raise InvalidRequest(f"{file}: the item's text is {_kind(value['text'])}, not a string")
    metadata = {} if value.get("metadata") is None else value["metadata"]
    if not isinstance(metadata, dict):
        raise InvalidRequest(
            f"{file}: the item's metadata must be an object, not {_kind(metadata)}"
        )
    return Item(
        id=_name(file, value, "id") or Path(file).stem,
        text=value["text"],
        metadata=metadata,
        external_id=_name(file, value, "external_id"),
    )


def _name(file: str, value: dict[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise InvalidRequest(f"{file}: the item's {key} is {_kind(found)}, not a string")
    return str(found)


def _read(file: str, what: str, *, at_most: int = _MAX_BYTES) -> bytes:
    """Return the file's bytes; of a larger one, one more than `at_most`: a device or pipe may never end."""
    if file == STDIN:
        return sys.stdin.buffer.read(at_most + 1)
    try:
        with Path(file).open("rb") as stream:
            return stream.read(at_most + 1)
    except FileNotFoundError:
        raise InvalidRequest(f"{file}: there is no such {what} file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"{file}: the {what} cannot be read: {reason}") from error


def _decode(file: str, body: bytes) -> str:
    name = "stdin" if file == STDIN else file
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(body[: error.start].decode("utf-8", "replace"))
        raise InvalidRequest(
            f"{name}:{line}:{column}: not UTF-8 text (byte {error.start})"
        ) from error


def _json(name: str, text: str) -> Any:
    try:
        return well_formed_value(json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
        ) from error
    except RecursionError:
        raise InvalidRequest(f"{name}: the JSON is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise InvalidRequest(f"{name}: not usable JSON: {error}") from error


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _kind(value: object) -> str:
    names = {bool: "a boolean", dict: "an object", list: "an array", str: "a string"}
    return "null" if value is None else names.get(type(value), "a number")
