"""YAML text to plain Python values, with the place of every key and item.

Parsing walks libyaml's events with an explicit stack: nesting and aliases are bounded, so that no text can exhaust
the stack or the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.yaml_scalars import as_written, resolve_plain

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
_MERGE = "<<"

_CORE = "tag:yaml.org,2002:"
_RESOLVED = frozenset(_CORE + kind for kind in ("int", "float", "bool", "null"))


class Place(tuple[int, int]):
    """A 1-based line and column."""

    __slots__ = ()

    @property
    def line(self) -> int:
        """The line, from 1."""
        return self[0]

    @property
    def column(self) -> int:
        """The column, from 1."""
        return self[1]


class YamlDocument:
    """One YAML document: `data`, and where each key and value of it stands."""

    def __init__(
        self,
        data: Any,
        places: dict[int, dict[Hashable, Place]],
        root: Place,
        texts: dict[int, dict[Hashable, int]],
    ) -> None:
        """Keep the values (which must stay alive: places are found by identity)."""
        self.data = data
        self._places = places
        self._root = root
        self._texts = texts

    def place(self, container: Any, key: Hashable = None) -> Place:
        """Return where `key` of a mapping, or index `key` of a list, stands; the container's own place for None.

        Raises:
            KeyError: `container` is not of this document or has no such key.
        """
        return self._places[id(container)][key]

    def text_line(self, path: tuple[Any, ...]) -> int | None:
        """Return the line on which the text at `path` begins, if it is a block (``|``) whose lines are the file's."""
        value = self.data
        try:
            for step in path[:-1]:
                value = value[step]
            return self._texts[id(value)][path[-1]]
        except (KeyError, IndexError, TypeError):
            return None

    def find(self, path: tuple[Any, ...]) -> Place:
        """Return the place of the value at `path`, or of the nearest thing above it that has one."""
        found, value = self._root, self.data
        for step in path:
            try:
                found = self._places[id(value)][step]
                value = value[step]
            except (KeyError, IndexError, TypeError):
                break
        return found


def parse_yaml(text: str, *, file: str | None = None) -> YamlDocument:
    """Parse one YAML document.

    Raises:
        ScorecardError: not YAML, a key twice in one mapping, too deep, too large; with line and column.
    """
    import yaml  # noqa: PLC0415 - 35 ms that only a process that reads YAML pays

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(file).build(yaml.parse(text, Loader=loader))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScorecardError(
            f"the character U+{ord(error.character) if isinstance(error.character, str) else error.character:04X}"
            " is not allowed in YAML: remove it",
            file=file,
            line=line,
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be parsed"
        hint = f" ({error.context}" if error.context and error.problem else ""
        if hint:
            hint += (
                f" that begins on line {error.context_mark.line + 1})"
                if error.context_mark
                else ")"
            )
        raise ScorecardError(
            f"not valid YAML: {problem}{hint}",
            file=file,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
        ) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ScorecardError(f"not valid YAML: {error}", file=file) from error


class _Frame:
    """A mapping or sequence that is being read."""

    __slots__ = (
        "anchor",
        "count",
        "key",
        "key_place",
        "merges",
        "places",
        "texts",
        "value",
        "waiting",
    )

    def __init__(self, value: dict[Any, Any] | list[Any], anchor: str | None, place: Place) -> None:
        self.value = value
        self.anchor = anchor
        self.places: dict[Hashable, Place] = {None: place}
        self.texts: dict[Hashable, int] = {}  # lines on which blocks of text begin
        self.merges: list[Any] = []
        self.key: Any = None
        self.key_place = place
        self.waiting = False  # a key was read, its value was not
        self.count = 1


class _Builder:
    """Builds values from parser events."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._stack: list[_Frame] = []
        self._places: dict[int, dict[Hashable, Place]] = {}
        self._texts: dict[int, dict[Hashable, int]] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents = 0
        self._result: Any = None
        self._root = Place((1, 1))

    def build(self, events: Iterator[Any]) -> YamlDocument:
        handlers: dict[str, Callable[[Any, Place], None]] = {
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "MappingStartEvent": self._open_mapping,
            "SequenceStartEvent": self._open_sequence,
            "MappingEndEvent": self._close,
            "SequenceEndEvent": self._close,
            "DocumentStartEvent": self._document,
        }
        for event in events:
            handler = handlers.get(type(event).__name__)
            if handler:
                handler(event, Place((event.start_mark.line + 1, event.start_mark.column + 1)))
        return YamlDocument(self._result, self._places, self._root, self._texts)

    def _error(self, message: str, place: Place) -> ScorecardError:
        return ScorecardError(message, file=self._file, line=place.line, column=place.column)

    def _document(self, _event: Any, place: Place) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._error("a second YAML document starts here: keep one per file", place)

    def _scalar(self, event: Any, place: Place) -> None:
        value = self._resolve(event, place)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        if event.style == "|" and self._stack and self._stack[-1].waiting:
            self._stack[-1].texts[self._stack[-1].key] = place.line + 1
        self._add(value, 1, place, merge=event.value == _MERGE and event.implicit[0])

    def _alias(self, event: Any, place: Place) -> None:
        if event.anchor not in self._anchors:
            raise self._error(f"the alias *{event.anchor} has no anchor above it", place)
        value, count = self._anchors[event.anchor]
        self._add(value, count, place)

    def _open_mapping(self, event: Any, place: Place) -> None:
        self._open(_Frame({}, event.anchor, place), place)

    def _open_sequence(self, event: Any, place: Place) -> None:
        self._open(_Frame([], event.anchor, place), place)

    def _open(self, frame: _Frame, place: Place) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep", place)
        if not self._stack:
            self._root = place
        self._stack.append(frame)

    def _close(self, _event: Any, place: Place) -> None:
        frame = self._stack.pop()
        if isinstance(frame.value, dict):
            for merged in frame.merges:
                self._merge(frame, merged, place)
        self._places[id(frame.value)] = frame.places
        if frame.texts:
            self._texts[id(frame.value)] = frame.texts
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.value, frame.count)
        self._add(frame.value, frame.count, frame.places[None])

    def _merge(self, frame: _Frame, merged: Any, place: Place) -> None:
        sources = merged if isinstance(merged, list) else [merged]
        for source in sources:
            if not isinstance(source, dict) or not isinstance(frame.value, dict):
                raise self._error("<< needs a mapping, or a list of mappings", place)
            known = self._places.get(id(source), {})
            for key, value in source.items():
                if key not in frame.value:
                    frame.value[key] = value
                    frame.places[key] = known.get(key, place)

    def _add(self, value: Any, count: int, place: Place, *, merge: bool = False) -> None:
        if not self._stack:
            self._result = value
            return
        frame = self._stack[-1]
        frame.count += count
        if frame.count > MAX_VALUES:
            raise self._error(f"more than {MAX_VALUES:,} values, aliases counted", place)
        if isinstance(frame.value, list):
            frame.places[len(frame.value)] = place
            frame.value.append(value)
        elif frame.waiting:
            frame.waiting = False
            if frame.key is _MERGE_KEY:
                frame.merges.append(value)
            else:
                frame.value[frame.key] = value
        else:
            frame.waiting = True
            frame.key_place = place
            frame.key = _MERGE_KEY if merge else self._key(as_written(value), frame, place)

    def _key(self, key: Any, frame: _Frame, place: Place) -> Any:
        if not isinstance(key, Hashable):
            raise self._error(
                "a key must be a plain value: put quotes around {{ … }} and […]", place
            )
        if key in frame.value:
            first = frame.places[key]
            raise self._error(f"the key {key!r} is here twice (first on line {first.line})", place)
        frame.places[key] = place
        return key

    def _resolve(self, event: Any, place: Place) -> Any:
        text: str = event.value
        tag: str | None = event.tag
        if tag is None:
            return resolve_plain(text) if event.implicit[0] else text
        if tag in ("!", _CORE + "str", _CORE + "binary"):
            return text
        if tag in _RESOLVED:
            return resolve_plain(text)
        raise self._error(f"the tag {tag} is not allowed: write a plain value", place)


_MERGE_KEY = object()
