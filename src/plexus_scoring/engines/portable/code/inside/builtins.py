"""What the interpreter lacks of Python itself: builtins, and methods of texts."""


def ascii(value):  # noqa: A001 - a builtin that the interpreter lacks
    """Return the value's repr with escapes for what is not ASCII."""
    text = repr(value)
    out = ""
    for character in text:
        number = ord(character)
        if number < 128:
            out += character
        elif number < 256:
            out += "\\x" + format(number, "02x")
        elif number < 65536:
            out += "\\u" + format(number, "04x")
        else:
            out += "\\U" + format(number, "08x")
    return out


def callable(value):  # noqa: A001 - a builtin that the interpreter lacks
    """Return whether the value is a function or a class."""
    return type(value).__name__ in ("builtin_function_or_method", "function", "method", "type")


def _plexus_maketrans(first, second=None, third=""):
    """Stand for `str.maketrans`, which the interpreter lacks."""
    if second is None:
        return {ord(key) if isinstance(key, str) else key: to for key, to in first.items()}
    if len(first) != len(second):
        raise ValueError("the first two maketrans arguments must have equal length")
    table = {ord(a): ord(b) for a, b in zip(first, second, strict=True)}
    table.update({ord(character): None for character in third})
    return table


class _PlexusText:
    """A text with the methods that the interpreter's texts lack."""

    def __init__(self, text):
        self.text = text

    def translate(self, table):
        """Return the text with the characters replaced that the table names."""
        out = []
        for character in self.text:
            to = table.get(ord(character), character) if isinstance(table, dict) else character
            if to is not None:
                out.append(chr(to) if isinstance(to, int) else to)
        return "".join(out)

    def format_map(self, mapping):
        """Return the text with its fields filled in."""
        return self.text.format(**mapping)


def _plexus_text(value):
    return _PlexusText(value) if isinstance(value, str) else value
