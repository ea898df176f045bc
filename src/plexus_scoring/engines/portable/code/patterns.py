"""The module ``re`` for restricted code: the same functions, ended by a timeout.

The standard library's matcher cannot be interrupted. The ``regex`` package reads the same patterns and takes a
timeout; a pattern is first compiled by ``re``, so that what is an error there stays one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from plexus_scoring.engines.portable import bounds, metering

_MAX_PATTERN: Final = 20_000
_SECONDS: Final = 2.0
_SEARCHES: Final = ("findall", "finditer", "fullmatch", "match", "search", "split")


class Pattern:
    """A compiled pattern whose searches end after a time."""

    def __init__(self, pattern: str | bytes, flags: int = 0) -> None:
        self._compiled = _compile(pattern, int(flags))
        self.pattern = pattern
        self.flags = self._checked.flags
        self.groups = self._checked.groups
        self.groupindex = dict(self._checked.groupindex)

    @property
    def _checked(self) -> re.Pattern[Any]:
        return self._compiled[0]

    def _run(self, name: str, *args: Any, **kwargs: Any) -> Any:
        meter = metering.METER.get()
        timeout = _SECONDS if meter is None else min(_SECONDS, meter.seconds_left())
        try:
            return getattr(self._compiled[1], name)(*args, timeout=timeout, **kwargs)
        except TimeoutError:
            metering.stop(f"the pattern {self.pattern!r} takes too long on this text")

    def search(self, string: Any, *args: Any) -> Any:
        """As ``re.Pattern.search``."""
        return self._run("search", string, *args)

    def match(self, string: Any, *args: Any) -> Any:
        """As ``re.Pattern.match``."""
        return self._run("match", string, *args)

    def fullmatch(self, string: Any, *args: Any) -> Any:
        """As ``re.Pattern.fullmatch``."""
        return self._run("fullmatch", string, *args)

    def findall(self, string: Any, *args: Any) -> Any:
        """As ``re.Pattern.findall``."""
        return self._run("findall", string, *args)

    def finditer(self, string: Any, *args: Any) -> Any:
        """As ``re.Pattern.finditer``."""
        found = self._run("finditer", string, *args)

        def each() -> Any:
            try:
                yield from metering.metered(found)
            except TimeoutError:
                metering.stop(f"the pattern {self.pattern!r} takes too long on this text")

        return each()

    def split(self, string: Any, maxsplit: int = 0) -> Any:
        """As ``re.Pattern.split``."""
        return self._run("split", string, maxsplit)

    def sub(self, repl: Any, string: Any, count: int = 0) -> Any:
        """As ``re.Pattern.sub``."""
        return self._run("sub", self._replacement(repl, string), string, count)

    def subn(self, repl: Any, string: Any, count: int = 0) -> Any:
        """As ``re.Pattern.subn``."""
        return self._run("subn", self._replacement(repl, string), string, count)

    def _replacement(self, repl: Any, string: Any) -> Any:
        """Return `repl`, made to count what it puts in where that could grow large."""
        if not callable(repl) and (len(repl) + 1) * (len(string) + 1) <= bounds.MAX_ELEMENTS:
            return repl
        put_in = 0

        def counted(match: Any) -> Any:
            nonlocal put_in
            new = repl(match) if callable(repl) else match.expand(repl)
            put_in += bounds.text_size(new)
            bounds.check_size(put_in, "a substitution")
            metering.step()
            return new

        return counted


@lru_cache(maxsize=512)
def _compile(pattern: str | bytes, flags: int) -> tuple[re.Pattern[Any], Any]:
    import regex  # noqa: PLC0415 - 25 ms that only code with patterns pays

    if len(pattern) > _MAX_PATTERN:
        raise re.error(f"the pattern is longer than {_MAX_PATTERN:,} characters", pattern)
    return re.compile(pattern, flags), regex.compile(pattern, _translate(flags, regex))


def _translate(flags: int, regex: Any) -> int:
    translated = int(regex.VERSION0)
    for name in ("ASCII", "DOTALL", "IGNORECASE", "MULTILINE", "UNICODE", "VERBOSE"):
        if flags & int(getattr(re, name)):
            translated |= int(getattr(regex, name))
    return translated


def compile(pattern: Any, flags: int = 0) -> Pattern:  # noqa: A001 - re's own name
    """As ``re.compile``."""
    return pattern if isinstance(pattern, Pattern) else Pattern(pattern, flags)


def _of_module(name: str) -> Callable[..., Any]:
    def function(pattern: Any, string: Any, *args: Any, flags: int = 0) -> Any:
        return getattr(compile(pattern, args[0] if args else flags), name)(string)

    return function


def _split(pattern: Any, string: Any, maxsplit: int = 0, flags: int = 0) -> Any:
    return compile(pattern, flags).split(string, maxsplit)


def _sub(pattern: Any, repl: Any, string: Any, count: int = 0, flags: int = 0) -> Any:
    return compile(pattern, flags).sub(repl, string, count)


def _subn(pattern: Any, repl: Any, string: Any, count: int = 0, flags: int = 0) -> Any:
    return compile(pattern, flags).subn(repl, string, count)


NAMES: Final[dict[str, Any]] = {
    **{name: _of_module(name) for name in _SEARCHES if name != "split"},
    **{
        name: getattr(re, name)
        for name in (
            *(
                "A",
                "ASCII",
                "DOTALL",
                "I",
                "IGNORECASE",
                "M",
                "MULTILINE",
                "S",
                "U",
                "UNICODE",
                "VERBOSE",
                "X",
            ),
            *("error", "escape"),
        )
    },
    "Pattern": Pattern,
    "compile": compile,
    "split": _split,
    "sub": _sub,
    "subn": _subn,
}
"""What ``import re`` gives."""
