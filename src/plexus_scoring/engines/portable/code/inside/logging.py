"""The module ``logging`` as far as code writes with it: lines go to the job's log."""

CRITICAL, ERROR, WARNING, INFO, DEBUG = 50, 40, 30, 20, 10


def debug(message, *args, **_):
    """Write a line, filled in as logging does."""
    values = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
    print(str(message) % values if args else message)


info = warning = warn = error = exception = critical = debug


class Logger:
    """A logger: its level and handlers mean nothing here."""

    def __init__(self):
        self.debug = self.info = self.warning = self.warn = debug
        self.error = self.exception = self.critical = debug

    def isEnabledFor(self, *_):  # noqa: N802 - logging's name
        """Return that every line is written."""
        return True

    def setLevel(self, *_):  # noqa: N802 - logging's name
        """Change nothing."""


def getLogger(*_):  # noqa: N802 - logging's name
    """Return a logger."""
    return Logger()


def basicConfig(**_):  # noqa: N802 - logging's name
    """Change nothing."""
