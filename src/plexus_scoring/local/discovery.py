"""Finds the functions that this project ships: one folder each under ``lambda_functions``."""

from __future__ import annotations

from pathlib import Path

from plexus_scoring.model.errors import ConfigurationError, NotFound

PACKAGE = "lambda_functions"
HANDLER = "handler.handler"


def find_function(name: str, root: Path | None = None) -> tuple[Path, str]:
    """Return a function's task root and handler string.

    Args:
        name: The function's folder, for example ``score_processing``; hyphens may stand for underscores.
        root: Directory with the ``lambda_functions`` folder; by default the one shipped.

    Raises:
        NotFound: no such folder, or no ``handler.py`` in it.
        ConfigurationError: there are no functions here at all.
    """
    root = root or _shipped_root()
    folder = root / PACKAGE / name.replace("-", "_")
    if folder.parent != root / PACKAGE or not folder.is_dir():
        known = ", ".join(available(root)) or "none"
        raise NotFound(f"no function {name!r} in {root / PACKAGE} (there are: {known})")
    if not (folder / "handler.py").is_file():
        raise NotFound(f"function {name!r} has no handler.py in {folder}")
    return root, f"{PACKAGE}.{folder.name}.{HANDLER}"


def available(root: Path) -> list[str]:
    """Return the names of the functions under a root."""
    return sorted(path.parent.name for path in (root / PACKAGE).glob("*/handler.py"))


def _shipped_root() -> Path:
    """Return the checkout, or where the package is installed."""
    for root in Path(__file__).resolve().parents:
        if (root / PACKAGE / "__init__.py").is_file():
            return root
    raise ConfigurationError(f"there is no {PACKAGE} beside plexus_scoring: run in a checkout")
