"""Fetch AWS's Lambda runtime interface emulator: one file of one wheel, pinned by hash in requirements/rie.txt.

AWS publishes the emulator inside the wheel of its SAM CLI (Apache-2.0), for both processors.
"""

from __future__ import annotations

import argparse
import platform
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "rie.txt"
MEMBERS = {
    "x86_64": "samcli/local/rapid/aws-lambda-rie-x86_64",
    "aarch64": "samcli/local/rapid/aws-lambda-rie-arm64",
}


def main() -> int:
    """Write the emulator of a processor to the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--machine", choices=MEMBERS, default=platform.machine())
    arguments = parser.parse_args()
    if arguments.machine not in MEMBERS:
        parser.error(
            f"the emulator runs on Linux on {' and '.join(MEMBERS)}: name one by --machine"
        )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603 - our own arguments
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
                "--only-binary", ":all:", "--dest", folder, "--requirement", str(LOCK),
            ],
            check=True,
        )  # fmt: skip
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBERS[arguments.machine])
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = arguments.target.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.chmod(unfinished.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    unfinished.rename(arguments.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
