"""Programming languages: what a submission is written in, and its tokens."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plexus_scoring.model.errors import ConfigurationError, ScoreFailed

MAX_CODE_CHARACTERS = 300_000


@dataclass(frozen=True)
class CodeLanguage:
    """A language: file ending, and how a program is run (None: the rubric has to say)."""

    name: str
    ending: str
    command: tuple[str, ...] | None = None


_LANGUAGES = {
    language.name: language
    for language in (
        CodeLanguage("python", "py", ("python3", "{file}")),
        CodeLanguage("javascript", "js", ("node", "{file}")),
        CodeLanguage("typescript", "ts"),
        CodeLanguage("java", "java", ("java", "{file}")),
        CodeLanguage("c", "c"),
        CodeLanguage("cpp", "cpp"),
        CodeLanguage("csharp", "cs"),
        CodeLanguage("go", "go", ("go", "run", "{file}")),
        CodeLanguage("ruby", "rb", ("ruby", "{file}")),
        CodeLanguage("rust", "rs"),
        CodeLanguage("php", "php", ("php", "{file}")),
        CodeLanguage("swift", "swift"),
        CodeLanguage("kotlin", "kt"),
        CodeLanguage("scala", "scala"),
        CodeLanguage("lua", "lua", ("lua", "{file}")),
        CodeLanguage("perl", "pl", ("perl", "{file}")),
        CodeLanguage("r", "r", ("Rscript", "{file}")),
        CodeLanguage("bash", "sh", ("bash", "{file}")),
    )
}
_ALIASES = {
    "c++": "cpp",
    "c#": "csharp",
    "js": "javascript",
    "ts": "typescript",
    "py": "python",
    "golang": "go",
}
_BY_ENDING = {language.ending: language for language in _LANGUAGES.values()}


def language_of(configured: str | None, metadata: Mapping[str, Any]) -> CodeLanguage:
    """Return the submission's language: as configured, else as the metadata's `language` or `file_name` says.

    Raises:
        ScoreFailed: neither says one that is known.
    """
    named = configured or metadata.get("language")
    if named:
        key = str(named).strip().lower()
        found = _LANGUAGES.get(_ALIASES.get(key, key))
        if found is None:
            raise ScoreFailed(
                f"the language {named!r} is not known; there are {', '.join(_LANGUAGES)}"
            )
        return found
    file_name = str(metadata.get("file_name") or metadata.get("filename") or "")
    found = _BY_ENDING.get(pathlib.PurePath(file_name).suffix.lstrip(".").lower())
    if found is None:
        raise ScoreFailed(
            "the submission's language is not known: say `language` in the rubric, or `language` or `file_name` "
            "in the item's metadata"
        )
    return found


def check_size(text: str) -> None:
    """Check that code is not too long to be analysed. Raises ScoreFailed."""
    if len(text) > MAX_CODE_CHARACTERS:
        raise ScoreFailed(
            f"the code has {len(text):,} characters; at most {MAX_CODE_CHARACTERS:,} are analysed"
        )


def tokens_of(text: str, language: CodeLanguage) -> list[tuple[str, str]]:
    """Return (kind, text) of each token: comment, doc, name, literal, other. White space is left out.

    Raises:
        ConfigurationError: the rubric extra is not installed.
    """
    try:
        from pygments.lexers import get_lexer_by_name  # noqa: PLC0415  an extra
        from pygments.token import Comment, Literal, Name, String, Text  # noqa: PLC0415
    except ImportError as error:
        raise not_installed() from error
    kinds = (
        (String.Doc, "doc"),
        (Comment.Preproc, "other"),
        (Comment, "comment"),
        (Name, "name"),
        (Literal, "literal"),
    )
    lexer = get_lexer_by_name(language.name, stripnl=False, ensurenl=False)
    found = []
    for token, content in lexer.get_tokens(text):
        kind = next((name for parent, name in kinds if token in parent), "other")
        if token in Text and not content.strip():
            kind = "space"
        found.append((kind, content))
    return found


def not_installed() -> ConfigurationError:
    """Return the error that names the missing extra."""
    return ConfigurationError(
        "judging code needs lizard and pygments: pip install 'plexus-scoring[rubric]'"
    )
