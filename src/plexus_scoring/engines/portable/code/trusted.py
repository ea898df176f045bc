"""Runs scorecard code in this process, as Plexus does. Only for operators who set ``PLEXUS_SCORING_TRUST_CODE=1``."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import logging
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final

from plexus_scoring.engines.portable.code.answer import RESULT, Answer
from plexus_scoring.engines.portable.code.place import CodePlace, CodeRaised, summary
from plexus_scoring.engines.portable.code.source import SCORE, library

_FILENAME: Final = "<code of a scorecard>"
_THREADS: Final = 4
log = logging.getLogger(__name__)
code_log = logging.getLogger("plexus_scoring.scorecard")


class TrustedFunction:
    """A function of a scorecard's code in plain Python, without limits.

    Args:
        code: The YAML's ``code``. Its top level runs now.
        name: The function.
        call: The expression that calls it.
        place: Where it stands.
        with_score: Whether it knows `Score`.

    Raises:
        ScorecardError: A syntax error, an error at the top level, or no such function.
    """

    def __init__(
        self, code: str, name: str, call: str, place: CodePlace, *, with_score: bool
    ) -> None:
        _say_so_once()
        self._place = place
        self._names: dict[str, Any] = {
            "__name__": "plexus_scorecard",
            "logging": logging,
            "print": self._print,
        }
        exec(library("prelude") + (SCORE if with_score else ""), self._names)  # noqa: S102 - our own file
        self._result = self._names["_PlexusResult"]
        try:
            exec(compile(code, _FILENAME, "exec", dont_inherit=True), self._names)  # noqa: S102 - trusted
        except SyntaxError as error:
            raise place.error(f"syntax error: {error.msg}", error.lineno) from error
        except Exception as error:
            raise place.error(summary(error), _line(error)) from error
        function = self._names.get(name)
        if not callable(function):
            raise place.error(f"the code must define a function {name!r}")
        if inspect.iscoroutinefunction(function):
            raise place.error(f"{name!r} must be a plain function, not an async one")
        self._call = compile(call, "<call>", "eval")

    async def __call__(self, given: Mapping[str, Any]) -> Answer:
        """Call the function in a thread. See `ScorecardFunction`."""
        context = contextvars.copy_context()
        copied = copy.deepcopy(dict(given))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads(), context.run, self._run, copied)

    def _run(self, given: dict[str, Any]) -> Answer:
        try:
            value = eval(self._call, self._names, {"_plexus_given": given})  # noqa: S307 - trusted
            if isinstance(value, self._result):
                text = value.value if isinstance(value.value, str) else str(value.value)
                return Answer(RESULT, text, value.metadata)
        except Exception as error:
            raise CodeRaised(self._place.at(_line(error)), error) from error
        return Answer(type(value).__name__, value)

    def _print(self, *values: Any, sep: str | None = " ", **_: Any) -> None:
        code_log.debug("[%s] %s", self._place, (" " if sep is None else sep).join(map(str, values)))


def _line(error: BaseException) -> int | None:
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == _FILENAME]
    return lines[-1] if lines else None


@lru_cache(maxsize=1)
def _say_so_once() -> None:
    log.warning(
        "PLEXUS_SCORING_TRUST_CODE=1: Python in scorecards runs inside this process, with its rights and without limits"
    )


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="scorecard-code")
