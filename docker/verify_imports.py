"""Import in the build what the functions import in production, so that a broken image is never pushed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

SLIM = [
    "awslambdaric.bootstrap",
    "boto3",
    "lambda_functions.runtime",
    "plexus_scoring.bootstrap",
    "plexus_scoring.engines.portable.engine",
    "plexus_scoring.stores.dynamodb",
    "plexus_scoring.transports.lambda_function",
    "plexus_scoring.engines.portable.rubric.score",
    "contractions",
    "genai_prices",
    "lizard",
    "httpx2",
    "pygments.lexers",
    "rapidfuzz.fuzz",
    "regex",
    "socksio",
    "pydantic_monty",
]
FULL = [*SLIM, "psycopg", "pycurl"]
HOST = """
import importlib, importlib.util
names = ["plexus.Scorecard", "plexus.scores.LangGraphScore"] if importlib.util.find_spec("plexus") else []
for name in ["tactus.core.runtime", "tactus.primitives.model", *names]:
    importlib.import_module(name)
"""


def main(variant: str) -> int:
    """Import everything of the variant; return 1 and one line for the first that fails."""
    names = list(FULL if variant == "full" else SLIM)
    for name in names:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  whatever an import raises, the image is broken
            sys.stderr.write(f"error: {name} cannot be imported: {type(error).__name__}: {error}\n")
            return 1
        if name == "pycurl" and "openssl" not in module.version.lower():
            sys.stderr.write(f"error: pycurl is built without OpenSSL: {module.version}\n")
            return 1
    failed = check_interpreter()
    return failed or (host() if variant == "full" else 0)


def check_interpreter() -> int:
    """Run a line in the interpreter for scorecards: its program lies beside the packages, and needs glibc 2.28."""
    from pydantic_monty import Monty  # noqa: PLC0415 - told above if it is missing

    try:
        with Monty() as pool, pool.checkout() as session:
            answer = session.feed_run("1 + 1")
    except Exception as error:  # noqa: BLE001  as above
        sys.stderr.write(f"error: the interpreter for scorecards does not run: {error}\n")
        return 1
    return 0 if answer == 1 + 1 else 1


def host() -> int:
    """Import in Plexus's environment what its hosts import; return 1 and one line if that fails."""
    python = os.environ.get("PLEXUS_PYTHON", "/opt/plexus/bin/python")
    done = subprocess.run([python, "-I", "-c", HOST], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return 0
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    sys.stderr.write(f"error: {python} cannot import Plexus: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
