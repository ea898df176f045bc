"""Remove English stop words, by the list of the machine's NLTK data."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_ENGLISH: Final = "corpora/stopwords/english"
_ARCHIVE: Final = "corpora/stopwords.zip"
_ARCHIVED: Final = "stopwords/english"


def remove_stop_words(text: str, parameters: Mapping[str, Any]) -> str:
    """Return the text's words that are not stop words, with one blank between them.

    The list is NLTK's data package ``stopwords``, looked for where NLTK looks; it is never downloaded.

    Raises:
        FileNotFoundError: The data package is not on this machine.
    """
    del parameters
    stop_words = _english(os.environ.get("NLTK_DATA", ""))
    return " ".join(word for word in text.split() if word.lower() not in stop_words)


@lru_cache(maxsize=4)
def _english(nltk_data: str) -> frozenset[str]:
    for folder in _folders(nltk_data):
        if (folder / _ENGLISH).is_file():
            return frozenset((folder / _ENGLISH).read_text("utf-8").split())
        if (folder / _ARCHIVE).is_file():
            with zipfile.ZipFile(folder / _ARCHIVE) as archive:
                return frozenset(archive.read(_ARCHIVED).decode("utf-8").split())
    raise FileNotFoundError(
        "NLTK's data package 'stopwords' is not installed: put it under a folder named by NLTK_DATA"
    )


def _folders(nltk_data: str) -> Iterator[Path]:
    yield from (Path(part) for part in nltk_data.split(os.pathsep) if part)
    yield Path.home() / "nltk_data"
    for prefix in ("", "share", "lib"):
        yield Path(sys.prefix) / prefix / "nltk_data"
    for place in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"):
        yield Path(place) / "nltk_data"
