"""What a session of the interpreter runs, and within which limits."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from plexus_scoring.engines.portable.code.place import CodePlace

MAX_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of a session's heap, which the worker's allocator enforces."""


@dataclass(frozen=True, eq=False)
class Program:
    """What a session runs.

    Attributes:
        prelude: What the code finds defined.
        code: The code, with the lines of the scorecard.
        call: An expression whose value is a text, whatever the code did to the names in it.
        place: Where the code stands.
    """

    prelude: str
    code: str
    call: str
    place: CodePlace


Owner = tuple[str, Program]
"""Whose a session is: an account, and a program, which is of one version of a scorecard."""

ACCOUNT: Final[ContextVar[str]] = ContextVar("account", default="")
"""The account of the job that is being scored."""


STARTING: Final = threading.Lock()
"""Held while a pool is made: making one looks up paths in `sysconfig`, whose first use is not safe in two threads."""


def session_options(seconds: float) -> dict[str, Any]:
    """Return the limits of a session, as `checkout` takes them."""
    return {
        "limits": {"max_feed_duration_secs": seconds, "max_memory": MAX_MEMORY},
        "os_policy": {"sleep": "zero"},
        "assert_message_annotations": False,
    }
