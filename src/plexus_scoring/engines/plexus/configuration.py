"""A scorecard's YAML as the package takes it: what is wrong with it is said before the package sees it."""

from __future__ import annotations

import copy
import logging
from typing import Any

from plexus_scoring.engines.portable.dependencies import find_cycle, read_dependencies
from plexus_scoring.model.errors import NotFound, ScorecardError, ScoreDisabled
from plexus_scoring.model.scorecard import Scorecard, folded
from plexus_scoring.model.scorecard_yaml import read_document, score_entries

Entry = dict[str, Any]
log = logging.getLogger(__name__)


class Configuration:
    """The scores of one version of a scorecard.

    Raises ScorecardError where the text is no scorecard.
    """

    def __init__(self, scorecard: Scorecard) -> None:
        document = read_document(scorecard.source, file=scorecard.file)
        entries = score_entries(document, file=scorecard.file)
        self.scorecard = scorecard
        self._file = scorecard.file
        self._entries: dict[str, Entry] = {str(entry["name"]): entry for entry in entries}
        self._folded = {folded(name): name for name in self._entries}
        self._names = {
            str(entry[key]): name
            for key in ("externalId", "id", "key")
            for name, entry in reversed(self._entries.items())
            if entry.get(key) is not None
        }

    def find(self, reference: str) -> str:
        """Return the name of the score that a job means. Raises NotFound, ScoreDisabled."""
        name = (
            reference
            if reference in self._entries
            else self._names.get(reference) or self._folded.get(folded(reference))
        )
        if name is None:
            raise NotFound(
                f"no score {reference!r} on the scorecard {self.scorecard.name!r}; it has {', '.join(self._entries)}"
            )
        if self._disabled(name):
            raise ScoreDisabled(f"the score {name!r} is disabled in the scorecard")
        return name

    def closure(self, name: str) -> list[str]:
        """Return the score and all that it depends on. Raises ScorecardError for a cycle."""
        edges: dict[str, list[str]] = {}
        found = [name]
        for known in found:
            edges[known] = [
                other
                for wanted in read_dependencies(self._entries[known].get("depends_on"))
                if (other := self._dependency(known, wanted.name)) is not None
            ]
            found.extend(other for other in edges[known] if other not in found)
        cycle = find_cycle(name, edges)
        if cycle:
            raise self._error(
                f"depends on itself: {' → '.join(cycle)}; take one of these out of depends_on",
                cycle[0],
            )
        return found

    def for_package(self, names: list[str]) -> tuple[Entry, list[Entry]]:
        """Return the structure and the scores' configurations, as the package gets them from its API.

        The package writes into what it is given, so each call makes a copy.
        """
        entries = [self._entry(name) for name in names]
        scores = [
            {
                "id": entry["id"],
                "name": entry["name"],
                "championVersionId": entry.get("version"),
                **({"isDisabled": True} if self._disabled(entry["name"]) else {}),
            }
            for entry in entries
        ]
        card = self.scorecard
        structure = {
            "id": card.id,
            "name": card.name,
            "key": card.key,
            "externalId": card.external_id,
            "sections": {"items": [{"scores": {"items": scores}}]},
        }
        return structure, entries

    def id_of(self, name: str) -> str:
        """Return the id under which the package answers for a score."""
        return str(self._entries[name].get("id") or name)

    def _entry(self, name: str) -> Entry:
        entry = copy.deepcopy(self._entries[name])
        class_name = entry.get("class") or ("LangGraphScore" if "graph" in entry else "")
        if not str(class_name).isidentifier():
            # Where a stored score could not be read, the reason stands in its class's place.
            reason = class_name or "has no class: say `class: LangGraphScore`, for example"
            raise self._error(str(reason), name)
        depends_on = entry.get("depends_on")
        if isinstance(depends_on, str):
            depends_on = [depends_on]
        if isinstance(depends_on, list):
            found = [self._dependency(name, str(other)) for other in depends_on]
            entry["depends_on"] = [other for other in found if other is not None]
        elif isinstance(depends_on, dict):
            entry["depends_on"] = {
                known: wanted
                for other, wanted in depends_on.items()
                if (known := self._dependency(name, str(other))) is not None
            }
        entry["class"] = str(class_name)
        entry["id"] = self.id_of(name)
        return entry

    def _dependency(self, name: str, wanted: str) -> str | None:
        """Return the score that a name in depends_on means, whatever its case.

        None for a name that is no score: Plexus goes on without it, after trying to fetch it from its API.
        """
        found = wanted if wanted in self._entries else self._folded.get(folded(wanted))
        if found is None:
            log.warning("score %r depends on %r, which is no score here: ignored", name, wanted)
        return found

    def _disabled(self, name: str) -> bool:
        entry = self._entries[name]
        return (entry.get("disabled") or entry.get("isDisabled")) is True

    def _error(self, message: str, name: str) -> ScorecardError:
        return ScorecardError(f"score {name!r}: {message}", file=self._file)
