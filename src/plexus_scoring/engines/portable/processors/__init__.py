"""Processors: what is done to an item's text before a score sees it (``item.processors``, ``data.processors``).

A processor is named by its Plexus class and gets its ``parameters`` from the YAML. As in Plexus, one that does not
exist or fails on this item is skipped with a line in the job's log, and the next one goes on with the text as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from plexus_scoring.engines.portable.processors.contractions import expand_contractions
from plexus_scoring.engines.portable.processors.deepgram import format_deepgram, slice_deepgram
from plexus_scoring.engines.portable.processors.speakers import (
    enumerate_speakers,
    keep_customer,
    mark_speakers_unknown,
    remove_speakers,
)
from plexus_scoring.engines.portable.processors.stop_words import remove_stop_words
from plexus_scoring.engines.portable.processors.windows import keep_relevant_windows
from plexus_scoring.model.errors import ScorecardError

logger = logging.getLogger(__name__)


class _Transcript(NamedTuple):
    text: str
    metadata: dict[str, Any]


_TEXT_PROCESSORS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], str]]] = {
    "AddEnumeratedSpeakerIdentifiersTranscriptFilter": enumerate_speakers,
    "AddUnknownSpeakerIdentifiersTranscriptFilter": mark_speakers_unknown,
    "ExpandContractionsProcessor": expand_contractions,
    "FilterCustomerOnlyProcessor": keep_customer,
    "RelevantWindowsTranscriptFilter": keep_relevant_windows,
    "RemoveSpeakerIdentifiersTranscriptFilter": remove_speakers,
    "RemoveStopWordsTranscriptFilter": remove_stop_words,
}

_METADATA_PROCESSORS: Final[
    Mapping[str, Callable[[str, dict[str, Any], Mapping[str, Any]], tuple[str, dict[str, Any]]]]
] = {
    "DeepgramFormatProcessor": format_deepgram,
    "DeepgramTimeSliceProcessor": slice_deepgram,
}

_DATA_SET_ONLY: Final = frozenset(
    {
        "ByColumnValueDatasetFilter",
        "ColumnDatasetFilter",
        "DownsampleClassDatasetFilter",
        "MergeColumnsDatasetFilter",
    }
)

PROCESSORS: Final = frozenset({*_TEXT_PROCESSORS, *_METADATA_PROCESSORS})
"""Names of the processors that change an item, for lint."""

# What a processor raises on parameters or metadata of another shape than it reads. Plexus skips it then.
_UNFIT: Final = (
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
)


def apply_processors(
    processors: Sequence[Mapping[str, Any]], text: str, metadata: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the text and metadata after every processor, in order.

    Args:
        processors: The YAML's list of ``{class, parameters}``.
        text: The item's text.
        metadata: The item's metadata; it is not changed.

    Raises:
        ScorecardError: `processors` is not a list of mappings.
    """
    transcript = _Transcript(text, dict(metadata))
    for number, configuration in enumerate(processors, start=1):
        if not isinstance(configuration, Mapping):
            raise ScorecardError(
                f"processor {number} is {configuration!r}: write it as a mapping with the key 'class'"
            )
        name = configuration.get("class")
        if not name:
            logger.warning("Processor %d has no 'class' and is skipped", number)
            continue
        try:
            transcript = _apply(name, configuration.get("parameters", {}), transcript)
        except _UNFIT as error:
            # The message of a KeyError and its like can quote the item: name the error only.
            logger.warning("Processor %d (%s) is skipped: %s", number, name, _reason(error))
    return transcript


def _apply(name: object, parameters: object, transcript: _Transcript) -> _Transcript:
    if not isinstance(parameters, Mapping):
        raise _NotApplicable(f"its parameters are {type(parameters).__name__}, not a mapping")
    if on_text := _TEXT_PROCESSORS.get(str(name)):
        return _Transcript(on_text(transcript.text, parameters), transcript.metadata)
    if on_metadata := _METADATA_PROCESSORS.get(str(name)):
        text, metadata = on_metadata(transcript.text, transcript.metadata, parameters)
        if not isinstance(text, str):
            raise _NotApplicable("it made something other than text")
        return _Transcript(text, metadata)
    if name in _DATA_SET_ONLY:
        raise _NotApplicable("it works on data sets for training, not on an item")
    raise _NotApplicable(f"there is no such processor; known: {', '.join(sorted(PROCESSORS))}")


class _NotApplicable(ValueError):
    """A reason that quotes nothing of the item."""


def _reason(error: Exception) -> str:
    if isinstance(error, (_NotApplicable, ImportError, OSError)):
        return str(error)
    return f"{type(error).__name__} on its parameters or this item's metadata"
