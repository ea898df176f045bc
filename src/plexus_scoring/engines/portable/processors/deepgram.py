"""Deepgram transcripts kept in an item's metadata: cut them by time, write them as text.

The functions read ``metadata["deepgram"]`` in the shape of Deepgram's answer and let the errors of another shape
(KeyError, TypeError, AttributeError) pass: the caller skips the processor, as Plexus does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_Entry = tuple[float, int, dict[str, Any], str]


def format_deepgram(
    text: str, metadata: dict[str, Any], parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the transcript written out, the channels merged by time. Without one: the text as it is.

    Parameters: ``format`` paragraphs (default), sentences or words; ``speaker_labels``; ``include_timestamps``
    (seconds); ``channel``: this one only.

    Raises:
        ValueError: An unknown ``format`` or a ``channel`` that is no number.
    """
    deepgram = metadata.get("deepgram")
    if not deepgram:
        return text, metadata
    kind = parameters.get("format", "paragraphs")
    channel = parameters.get("channel")
    only = None if channel is None else int(channel)
    if kind not in _FORMATS:
        raise ValueError(f"its format must be one of {', '.join(_FORMATS)}")
    collect, separator, stamp = _FORMATS[kind]
    # sorted() is stable: entries that begin together stay in the order of their channels.
    entries = sorted(collect(deepgram, only), key=lambda entry: entry[0])
    several_channels = only is None and len(_channels(deepgram)) > 1
    labelled = parameters.get("speaker_labels", False)
    stamped = parameters.get("include_timestamps", False)
    parts = []
    for start, channel_index, source, words in entries:
        label = f"{_speaker(source, channel_index, several_channels=several_channels)}: "
        parts.append(stamp(start if stamped else None, label if labelled else "", words))
    return separator.join(parts), metadata


def slice_deepgram(
    text: str, metadata: dict[str, Any], parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the transcript between ``start`` (0) and ``end`` seconds, or of the ``last`` seconds, and its text.

    Words and sentences are kept by when they begin. Without a transcript, or for ``last`` without a duration,
    nothing changes.
    """
    deepgram = metadata.get("deepgram")
    if not deepgram:
        return text, metadata
    start = float(parameters.get("start", 0.0))
    end = _seconds(parameters.get("end"))
    last = _seconds(parameters.get("last"))
    if last is not None:
        duration = deepgram.get("metadata", {}).get("duration")
        if duration is None:
            return text, metadata
        start, end = max(0.0, float(duration) - last), None

    def inside(part: Mapping[str, Any]) -> bool:
        return _within(part["start"], start, end)

    sliced = copy.deepcopy(deepgram)
    for _, alternative in _alternatives(sliced):
        if "words" in alternative:
            alternative["words"] = [word for word in alternative["words"] if inside(word)]
            alternative["transcript"] = " ".join(word["word"] for word in alternative["words"])
        if "paragraphs" in alternative and "paragraphs" in alternative["paragraphs"]:
            block = alternative["paragraphs"]
            block["paragraphs"] = [
                paragraph
                for paragraph in block["paragraphs"]
                if _cut_paragraph(paragraph, start, end)
            ]
            block["transcript"] = " ".join(part.get("text", "") for part in block["paragraphs"])
    results = sliced.get("results", {})
    if "utterances" in results:
        results["utterances"] = [part for part in results["utterances"] if inside(part)]
    return _text_of(sliced), {**metadata, "deepgram": sliced}


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _within(moment: float, start: float, end: float | None) -> bool:
    return not moment < start and (end is None or not moment >= end)


def _cut_paragraph(paragraph: dict[str, Any], start: float, end: float | None) -> bool:
    """Drop a paragraph's sentences outside the window; tell whether anything is left."""
    if "sentences" not in paragraph:
        return _within(paragraph.get("start", 0), start, end)
    left = [part for part in paragraph["sentences"] if _within(part["start"], start, end)]
    paragraph["sentences"] = left
    if left:
        paragraph["text"] = " ".join(part["text"] for part in left)
    return bool(left)


def _text_of(deepgram: dict[str, Any]) -> str:
    lines = []
    for channel_index, alternative in _alternatives(deepgram):
        for paragraph in _paragraphs(alternative):
            words = paragraph.get("text", "")
            if not words and "sentences" in paragraph:
                words = " ".join(part["text"] for part in paragraph["sentences"])
            if words:
                speaker = paragraph.get("speaker", channel_index)
                lines.append((paragraph.get("start", 0), f"Speaker {speaker}: {words}"))
    lines.sort(key=lambda line: line[0])
    return "\n\n".join(line for _, line in lines)


def _channels(deepgram: dict[str, Any]) -> list[dict[str, Any]]:
    channels: list[dict[str, Any]] = deepgram.get("results", {}).get("channels", [])
    return channels


def _alternatives(
    deepgram: dict[str, Any], only: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, channel in enumerate(_channels(deepgram)):
        if only is None or index == only:
            for alternative in channel.get("alternatives", []):
                yield index, alternative


def _paragraphs(alternative: dict[str, Any]) -> list[dict[str, Any]]:
    paragraphs: list[dict[str, Any]] = alternative.get("paragraphs", {}).get("paragraphs", [])
    return paragraphs


def _speaker(source: dict[str, Any], channel: int, *, several_channels: bool) -> str:
    # Deepgram counts speakers from 0 in each channel: with several, the channel is who speaks.
    if several_channels:
        return f"Speaker {channel}"
    speaker = source.get("speaker")
    return f"Channel {channel}" if speaker is None else f"Speaker {speaker}"


def _paragraph_entries(deepgram: dict[str, Any], only: int | None) -> Iterator[_Entry]:
    for channel, alternative in _alternatives(deepgram, only):
        for paragraph in _paragraphs(alternative):
            if "sentences" in paragraph:
                words = " ".join(part["text"] for part in paragraph["sentences"])
            else:
                words = paragraph.get("text", "")
            if words:
                yield paragraph.get("start", 0.0), channel, paragraph, words


def _sentence_entries(deepgram: dict[str, Any], only: int | None) -> Iterator[_Entry]:
    for channel, alternative in _alternatives(deepgram, only):
        for paragraph in _paragraphs(alternative):
            begin = paragraph.get("start", 0.0)
            for part in paragraph.get("sentences", []) or [{**paragraph, "start": begin}]:
                words = part.get("text", "").strip()
                if words:
                    yield part.get("start", begin), channel, paragraph, words


def _word_entries(deepgram: dict[str, Any], only: int | None) -> Iterator[_Entry]:
    for channel, alternative in _alternatives(deepgram, only):
        for word in alternative.get("words", []):
            yield word.get("start", 0.0), channel, word, word["word"]


def _line(start: float | None, label: str, words: str) -> str:
    stamp = "" if start is None else f"[{start:.2f}s] "
    return f"{stamp}{label}{words}"


def _word(start: float | None, label: str, words: str) -> str:
    stamp = "" if start is None else f"[{start:.2f}]"
    return f"{label}{words}{stamp}"


_FORMATS: Final[
    Mapping[
        str,
        tuple[
            Callable[[dict[str, Any], int | None], Iterator[_Entry]],
            str,
            Callable[[float | None, str, str], str],
        ],
    ]
] = {
    "paragraphs": (_paragraph_entries, "\n\n", _line),
    "sentences": (_sentence_entries, "\n", _line),
    "words": (_word_entries, " ", _word),
}
