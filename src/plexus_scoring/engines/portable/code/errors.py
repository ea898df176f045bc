"""What the interpreter's errors mean, and what becomes of what code prints."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from plexus_scoring.engines.portable.code.place import CodePlace, CodeRaised, summary
from plexus_scoring.engines.portable.code.program import MAX_MEMORY
from plexus_scoring.model.errors import BudgetExceeded

if TYPE_CHECKING:
    from pydantic_monty import CollectString, MontyError

_LOGGED: Final = 20_000
_CODE: Final = "<python-input-1>"  # the second thing that a session is fed
_log = logging.getLogger("plexus_scoring.scorecard")


class WorkerDied(Exception):
    """The worker ended in the middle of a turn, and no limit of ours is the reason."""


def meaning(
    place: CodePlace,
    error: MontyError,
    *,
    seconds: float,
    at_top_level: bool,
    raised: BaseException | None = None,
) -> Exception:
    """Return the error of ours, or `WorkerDied`.

    `raised` is `error.exception()`, if the caller has it: each copy of a message of 25 MB takes 45 ms.
    """
    from pydantic_monty import MontyCrashedError, MontySyntaxError  # noqa: PLC0415 - 60 ms that only code pays

    too_long = f"it took more than {seconds:g} s"
    if isinstance(error, MontyCrashedError):
        if not error.timed_out:
            return WorkerDied(str(error)[:200])
        return _stopped(place, None, too_long, at_top_level=at_top_level)
    line = _line(error)
    if raised is None:
        raised = error.exception()
    if is_over_time(error):
        return _stopped(place, line, too_long, at_top_level=at_top_level)
    if isinstance(raised, MemoryError):
        reason = str(raised)[:200] or "out of memory"
        if "memory limit" in reason:
            reason = f"it needs more than {MAX_MEMORY // 2**20} MiB"
        return _stopped(place, line, reason, at_top_level=at_top_level)
    if at_top_level or isinstance(error, MontySyntaxError):
        return place.error(summary(raised), line)
    return CodeRaised(place.at(line), raised)


def _stopped(place: CodePlace, line: int | None, reason: str, *, at_top_level: bool) -> Exception:
    if at_top_level:
        return place.error(
            f"what it does outside of functions was stopped, {reason}: move it into the function",
            line,
        )
    return BudgetExceeded(f"{place.at(line)}: stopped, {reason}")


def is_over_time(error: MontyError) -> bool:
    """Return whether a call was stopped because its time was over."""
    from pydantic_monty import MontyCrashedError  # noqa: PLC0415 - as above

    if isinstance(error, MontyCrashedError):
        return error.timed_out
    # An exception of the code's own has the place where it was raised, a time limit has none.
    traceback = getattr(error, "traceback", None)
    placeless = traceback is not None and not traceback()
    return placeless and isinstance(error.exception(), TimeoutError)


def is_refusal(error: MontyError) -> bool:
    """Return whether a value could not be sent: nothing has run."""
    from pydantic_monty import MontyConversionError, MontyRuntimeError  # noqa: PLC0415 - as above

    if isinstance(error, MontyRuntimeError):
        return not error.traceback() and isinstance(error.exception(), ValueError)
    return isinstance(error, MontyConversionError)


def _line(error: Any) -> int | None:
    """Return the line of the code that raised, or that called what raised."""
    traceback = getattr(error, "traceback", None)
    frames = traceback() if traceback is not None else []
    lines: list[int] = [frame.line for frame in frames if frame.filename == _CODE]
    return lines[-1] if lines else None


def log_printed(place: CodePlace, printed: CollectString) -> None:
    """Write what the code printed to the job's log. It may quote the item, so never above debug level."""
    text = printed.output
    if text and _log.isEnabledFor(logging.DEBUG):
        more = len(text) - _LOGGED
        rest = f" … ({more:,} characters more)" if more > 0 else ""
        _log.debug("[%s] %s%s", place, text[:_LOGGED].rstrip("\n"), rest)
