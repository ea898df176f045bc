"""The command `plexus-scoring`. Its commands, options and exit codes are described in ``docs/cli.md``."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command line. Ends the process with one of the codes of `plexus_scoring.cli.exits`."""
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        sys.stderr.write(
            "plexus-scoring: the command line is not installed: pip install 'plexus-scoring[cli]'\n"
        )
        sys.exit(1)
    from plexus_scoring.cli.app import app_for  # noqa: PLC0415  needs the extra that was looked for above

    app_for(sys.argv[1:])()
