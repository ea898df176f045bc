r"""The interpreter's module ``re`` with patterns that mean what they mean in Python.

The interpreter's own takes `$` for the end alone, `\Z` for the end or the place before a last line break, `\<` for a
word's begin, and knows operators on sets such as ``[a&&b]``.
"""

import re as _re

ASCII = A = _re.A
DOTALL = S = _re.S
IGNORECASE = I = _re.I  # noqa: E741 - re's name
MULTILINE = M = _re.M
NOFLAG = _re.NOFLAG
Match = _re.Match
Pattern = _re.Pattern
error = _re.error
PatternError = _re.PatternError
escape = _re.escape
_known = {}


def _pattern(pattern, flags=0):
    if type(pattern) is not str:
        return pattern
    key = (pattern, flags & MULTILINE)
    if key not in _known:
        if len(_known) > 500:
            _known.clear()
        _known[key] = _translated(pattern, flags & MULTILINE or "(?m" in pattern)
    return _known[key]


def _translated(pattern, lines):
    out = ""
    place = 0
    closes = 0  # of a set: the first place where a bracket closes it
    while place < len(pattern):
        part = pattern[place]
        if part == "\\":
            part = pattern[place : place + 2]
            if part in ("\\<", "\\>"):
                part = part[1]
            elif part == "\\Z" and not closes:
                part = "\\z"
            place += 1
        elif closes:
            if part == "]" and place >= closes:
                closes = 0
            elif part in "[&~|":
                part = "\\" + part
        elif part == "[":
            closes = place + 2 + (pattern[place + 1 : place + 2] == "^")
        elif part == "$" and not lines:
            part = "\\Z"
        out += part
        place += 1
    return out


def compile(pattern, flags=0):  # noqa: A001 - re's name
    """Return the compiled pattern."""
    return _re.compile(_pattern(pattern, flags), flags)


def search(pattern, string, flags=0):
    """Return the first match, None if there is none."""
    return _re.search(_pattern(pattern, flags), string, flags)


def match(pattern, string, flags=0):
    """Return the match at the begin, None if there is none."""
    return _re.match(_pattern(pattern, flags), string, flags)


def fullmatch(pattern, string, flags=0):
    """Return the match of the whole text, None if there is none."""
    return _re.fullmatch(_pattern(pattern, flags), string, flags)


def findall(pattern, string, flags=0):
    """Return all matches."""
    return _re.findall(_pattern(pattern, flags), string, flags)


def finditer(pattern, string, flags=0):
    """Return all matches as objects."""
    return _re.finditer(_pattern(pattern, flags), string, flags)


def split(pattern, string, maxsplit=0, flags=0):
    """Return what stands between the matches."""
    return _re.split(_pattern(pattern, flags), string, maxsplit=maxsplit, flags=flags)


def sub(pattern, repl, string, count=0, flags=0):
    """Return the text with the matches replaced."""
    return _re.sub(_pattern(pattern, flags), repl, string, count=count, flags=flags)
