"""The scorecards and items of ``examples/``, and one item that is too long to be kept there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.model.scorecard_yaml import load_scorecard

CALLS = "call-centre-quality"
ESSAYS = "essay-assessment"
LONG_ITEM = "essay-collected-works"
_LONG_CHARACTERS = 450_000  # above DynamoDB's limit of 400 KB for one item of a table


@dataclass(frozen=True)
class Examples:
    """What the demo scores. Items come in the order of their ids."""

    scorecards: tuple[Scorecard, ...]
    items: tuple[Item, ...]

    def calls(self) -> list[Item]:
        """Return the transcripts."""
        return [item for item in self.items if item.id.startswith("call-")]

    def essays(self) -> list[Item]:
        """Return the essays."""
        return [item for item in self.items if item.id.startswith("essay-")]


def load_examples(folder: Path | None = None) -> Examples:
    """Read the examples, and make the long one of the others.

    Raises:
        ConfigurationError: there is no such folder; says where it is looked for.
        ScorecardError: a scorecard of it is wrong.
    """
    folder = folder or find_folder()
    scorecards = tuple(
        load_scorecard((folder / "scorecards" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in (CALLS, ESSAYS)
    )
    items = [_item(path) for path in (folder / "items").iterdir() if not path.name.startswith(".")]
    items.sort(key=lambda item: item.id)
    return Examples(scorecards, (*items, _long_item(items)))


def find_folder() -> Path:
    """Return ``examples`` of the working directory, or of the checkout that this code runs from."""
    for root in (Path.cwd(), *Path(__file__).resolve().parents):
        folder = root / "examples"
        if (folder / "scorecards" / f"{CALLS}.yaml").is_file():
            return folder
    raise ConfigurationError(
        "the folder examples/ is not here: run the demo in a checkout of the project"
    )


def _item(path: Path) -> Item:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return Item(id=path.stem, text=text)
    value = json.loads(text)
    return Item(
        id=value.get("id", path.stem),
        text=value["text"],
        metadata=value.get("metadata", {}),
        external_id=value.get("external_id"),
    )


def _long_item(items: list[Item]) -> Item:
    """Return all essays, again and again with numbers, as somebody's collected works."""
    essays = [item.text for item in items if item.id.startswith("essay-") and item.text]
    parts: list[str] = []
    length = 0
    while length < _LONG_CHARACTERS:
        number = len(parts) + 1
        part = f"Chapter {number}\n\n{essays[number % len(essays)]}"
        parts.append(part)
        length += len(part)
    return Item(id=LONG_ITEM, text="\n\n".join(parts), metadata={"chapters": len(parts)})
