"""The Plexus package: whether it is there, whether it is the right one, and how it is kept in bounds.

Plexus is written for a process of its own. It reads its settings from the environment, sends metrics and logs to
CloudWatch with blocking calls, counts every text's tokens with a table that it downloads, and sets up loggers when it
is imported. None of that is wanted here: the service has metrics, logs and settings of its own.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from plexus_scoring.model.errors import ConfigurationError, shorten

log = logging.getLogger(__name__)

_HOW = "install Plexus from its repository, https://github.com/AnthusAI/Plexus (it is on no package index)"
_MARK = "Scorecard.py"
# Read by the package when it is imported.
_DEFAULTS = {
    "PLEXUS_DISABLE_CLOUDWATCH_LOGS": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PLEXUS_FETCH_SCHEMA_FROM_TRANSPORT": "0",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/mpl",  # noqa: S108  a function's only writable directory, as upstream sets it
}
_import_lock = threading.Lock()


class Package:
    """What the engine uses of the package."""

    def __init__(self, scorecard_class: Any, graph_class: Any) -> None:
        self.scorecard_class = scorecard_class
        self.graph_class = graph_class


def is_installed() -> bool:
    """Whether the package is there. Does not import it."""
    return _place() is not None and _impostor() is None


def check() -> None:
    """Raise ConfigurationError unless the package is there and the right one. Does not import it."""
    if _place() is None:
        raise ConfigurationError(f"the Plexus package is not installed here: {_HOW}")
    impostor = _impostor()
    if impostor is not None:
        raise ConfigurationError(
            f"the package `plexus` that is installed here ({impostor}) is not AnthusAI's Plexus but an unrelated"
            f" project of the same name, as PyPI has it: uninstall it and {_HOW}"
        )


def load(environ: Mapping[str, str] | None = None) -> Package:
    """Import the package; the first time takes seconds.

    Args:
        environ: The process's settings. Those that only a secret brought are put into the process's environment,
            because the package reads nothing else.

    Raises:
        ConfigurationError: it is not there, another project, or lacks something that it needs.
    """
    check()
    with _import_lock:
        for name, value in {**_DEFAULTS, **(environ or {})}.items():
            os.environ.setdefault(name, value)
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            scorecard = importlib.import_module("plexus.Scorecard")
            graph = importlib.import_module("plexus.scores.LangGraphScore")
        except ImportError as error:
            raise ConfigurationError(
                f"the Plexus package cannot be imported: {shorten(str(error), 300)}; install what it requires"
            ) from error
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        _tame(scorecard)
        return Package(scorecard.Scorecard, graph.LangGraphScore)


def _tame(scorecard: Any) -> None:
    own = logging.getLogger("plexus")
    for handler in list(own.handlers):
        own.removeHandler(handler)
        handler.close()
    own.propagate = True
    # Token counts go into metrics that nobody here receives; the table for them would be downloaded.
    no_encoding = SimpleNamespace(encode=lambda _: ())
    scorecard.tiktoken = SimpleNamespace(get_encoding=lambda _: no_encoding)
    scorecard.CloudWatchLogger = NoCloudWatch


class NoCloudWatch:
    """Stands in for Plexus's CloudWatch client: its fifteen calls a score would each block the loop."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take whatever the real one takes."""

    def log_metric(self, *_: Any, **__: Any) -> None:
        """Send nothing."""


def _place() -> Path | None:
    """Return where `plexus` lies, whatever it is."""
    try:
        spec = importlib.util.find_spec("plexus")
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    return Path(places[0] if places else spec.origin or ".")


def _impostor() -> str | None:
    """Return name, version and summary of a `plexus` that is not Plexus."""
    place = _place()
    if place is None or (place / _MARK).is_file():
        return None
    try:
        about = importlib.metadata.metadata("plexus")
    except importlib.metadata.PackageNotFoundError:
        return f"at {place}"
    return shorten(f"plexus {about['Version']}: {about['Summary']}", 200)
