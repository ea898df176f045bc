"""A scorecard out of the API's records: its structure, and the YAML of each score's champion version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.model.yaml_document import parse_yaml
from plexus_scoring.stores.plexus_api.documents import MANY
from plexus_scoring.stores.plexus_api.records import Record

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?: [A-Za-z0-9_]+)*\Z")

# A block of lines does not keep these apart from a line feed.
_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029]")


def scores_of(structure: Record) -> Iterator[Record]:
    """Yield the Score records of a scorecard, section by section. Raises ScorecardError if it is cut off."""
    sections = structure.get("sections") or {}
    lists = [sections]
    for section in sections.get("items") or []:
        scores = (section or {}).get("scores") or {}
        lists.append(scores)
        yield from (score for score in scores.get("items") or [] if score)
    if any(entries.get("nextToken") for entries in lists):
        raise ScorecardError(
            f"{label_of(structure)} has more than {MANY} sections, or scores in a section: split it"
        )


def champions_of(structure: Record) -> list[str]:
    """Return the ids of the champion versions."""
    return [
        str(score["championVersionId"])
        for score in scores_of(structure)
        if score.get("championVersionId")
    ]


def label_of(structure: Record) -> str:
    """Return how messages name the scorecard."""
    return (
        f"Plexus scorecard {structure.get('key') or structure.get('name') or structure.get('id')}"
    )


def compose(
    structure: Record, configurations: Mapping[str, str], *, account: str | None
) -> Scorecard:
    """Return the scorecard.

    A score that cannot be read (no champion version, YAML that does not parse) keeps its place, with the reason where
    its class would be: jobs that need it fail with that reason, the others are scored.

    Args:
        structure: The Scorecard record with sections and scores.
        configurations: YAML texts by version id.
        account: The account's key.

    Raises:
        ScorecardError: no scores, or two scores of one name.
    """
    label = label_of(structure)
    entries = [_entry(score, configurations, label) for score in scores_of(structure)]
    if not entries:
        raise ScorecardError(f"{label} has no scores")
    head = {
        "name": str(structure.get("name") or structure["id"]),
        "key": structure.get("key"),
        "id": str(structure["id"]),
        "externalId": structure.get("externalId"),
    }
    data = {name: value for name, value in head.items() if value is not None}
    scorecard = load_scorecard(_dump({**data, "scores": entries}), file=label)
    return Scorecard(
        id=head["id"] or "",
        name=scorecard.name,
        key=scorecard.key,
        external_id=scorecard.external_id,
        account_id=account,
        source=scorecard.source,
        version=scorecard.version,
        scores=scorecard.scores,
        file=label,
    )


def _entry(score: Record, configurations: Mapping[str, str], label: str) -> dict[str, Any]:
    """Return a score's own YAML with the ids of its record, as Plexus itself fills them in."""
    version = score.get("championVersionId")
    name = str(score.get("name") or score["id"])
    ids = {
        "id": str(score["id"]),
        "externalId": None if score.get("externalId") is None else str(score["externalId"]),
        "version": version,
        "isDisabled": True if score.get("isDisabled") else None,
    }
    ids = {field: value for field, value in ids.items() if value is not None}
    if not version:
        reason = "this score has no champion version: promote one in Plexus"
        return {"name": name, **ids, "class": reason}
    if version not in configurations:
        return {
            "name": name,
            **ids,
            "class": f"its champion version {version} does not exist in Plexus",
        }
    try:
        data = parse_yaml(configurations[version], file=f"{label}, {name}, version {version}").data
    except ScorecardError as error:
        return {"name": name, **ids, "class": f"its YAML cannot be read: {error.message}"}
    if not isinstance(data, dict):
        return {"name": name, **ids, "class": f"its YAML (version {version}) is no mapping"}
    key = {"key": str(score["key"])} if score.get("key") and not data.get("key") else {}
    return {"name": name, **data, **key, **ids}


def _dump(data: dict[str, Any]) -> str:
    """Return YAML that means the same in YAML 1.1 and 1.2: text that may be doubted is quoted."""
    import yaml  # noqa: PLC0415  only a scorecard that is not cached needs it

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
        """Block style, without anchors."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
            return True

    def text(dumper: Any, value: str) -> Any:
        lines = "\n" in value and not _ODD_BREAKS.search(value)
        style = None if _PLAIN.match(value) else "|" if lines else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6))
