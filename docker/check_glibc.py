"""Stop the build if a package needs a newer glibc than this image has.

Every installed package says in its WHEEL file for which platforms it was built; ``manylinux_2_28_x86_64`` needs glibc
2.28. Without this check the mistake shows at the first import in production. Runs on the image's own Python, with
the standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# PEP 600: the older names' floors.
LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


def floor(tags: list[str]) -> tuple[int, int] | None:
    """Return the lowest glibc that one of a wheel's platform tags promises to run on; None if any will do."""
    floors = []
    for tag in tags:
        platform = tag.rsplit("-", 1)[-1]
        if platform == "any":
            return None
        modern = re.match(r"manylinux_(\d+)_(\d+)_", platform)
        legacy = LEGACY.get(platform.split("_", 1)[0])
        if modern:
            floors.append((int(modern[1]), int(modern[2])))
        elif legacy:
            floors.append(legacy)
    # A bare linux_x86_64 was built here and never checked: it promises nothing.
    return min(floors, default=(99, 99))


def packages(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each binary package under `root` with the glibc that it needs."""
    for wheel in sorted(root.rglob("*.dist-info/WHEEL")):
        tags = re.findall(r"^Tag: (\S+)", wheel.read_text(), re.MULTILINE)
        needs = floor(tags)
        if needs is not None:
            yield wheel.parent.name.removesuffix(".dist-info"), needs


def runtime() -> tuple[int, int]:
    """Return this image's glibc."""
    name = os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0.0"
    major, minor = re.findall(r"\d+", name)[:2]
    return int(major), int(minor)


def main(root: str) -> int:
    """Print one line and return 1 if a package cannot load here."""
    have = runtime()
    too_new = [(name, needs) for name, needs in packages(Path(root)) if needs > have]
    if too_new:
        shown = ", ".join(f"{name} needs {major}.{minor}" for name, (major, minor) in too_new)
        sys.stderr.write(
            f"error: this runtime image has glibc {have[0]}.{have[1]}, but {shown}: "
            "choose a BUILD_IMAGE, RUNTIME_IMAGE and REQUIREMENTS that fit (see Dockerfile.base)\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
