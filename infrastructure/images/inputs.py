"""Which files an image is made of, as one hash: the base is built again only when that changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

BASE_INPUTS = (
    "docker/Dockerfile.base",
    "docker/*.sh",
    "docker/*.py",
    "lambda_functions/*.py",
    "requirements/image-tools.txt",
    "requirements/lambda*.txt",
    "requirements/nltk-data.txt",
    "requirements/plexus.txt",
    "src/plexus_scoring/**/*",
)
_IGNORED = {"__pycache__"}


def content_tag(root: Path, settings: Iterable[str], patterns: Iterable[str] = BASE_INPUTS) -> str:
    """Return a tag that names the content of all files that match, and the settings of the build.

    Args:
        root: The repository's root.
        settings: Whatever else changes the image: variant, platform, Plexus's commit.
        patterns: Globs under the root.
    """
    digest = hashlib.sha256()
    for setting in settings:
        digest.update(f"{setting}\0".encode())
    paths = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        if _IGNORED.isdisjoint(path.parts) and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"inputs-{digest.hexdigest()[:16]}"
