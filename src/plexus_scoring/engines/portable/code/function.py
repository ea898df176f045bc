"""Compile a scorecard's Python and call one of its functions, bounded in time and memory."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import inspect
import os
import sys
import time
import traceback
import types
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from RestrictedPython.compile import compile_restricted

from plexus_scoring.engines.portable import metering
from plexus_scoring.engines.portable.code.attributes import MODULE_NAME
from plexus_scoring.engines.portable.code.guards import BUILTINS, GUARDS
from plexus_scoring.engines.portable.code.modules import guarded_import, load
from plexus_scoring.engines.portable.code.policy import ScorecardPolicy
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

MAX_STEPS: Final = 20_000_000
MAX_SECONDS: Final = 5.0
MAX_MEMORY: Final = 512 * 1024 * 1024
MAX_SOURCE: Final = 200_000
INLINE_SECONDS: Final = 0.02
_QUICK_SECONDS: Final = 0.002
_THREADS: Final = 4
# Ten reads of a file beside code that computes: 130 to 1,600 ms at Python's own 5 ms, 25 ms at this, at the same speed.
_SWITCH_SECONDS: Final = 0.0005
_FILENAME: Final = "<code of a scorecard>"

# Modules that the engine may hand over as globals, by the names that restricted code gets in their place.
_REPLACED: Final = frozenset({"logging"})


@dataclass(frozen=True)
class CodePlace:
    """Where code stands, for its error messages.

    Attributes:
        name: What it is the code of, for example score and node.
        file: The scorecard's file.
        first_line: The line of the file that the code's first line is on; None where lines cannot be told.
    """

    name: str
    file: str | None = None
    first_line: int | None = None

    def __str__(self) -> str:
        return self.name

    def at(self, line: int | None) -> str:
        """Return the place of a line of the code (from 1), in front of a message."""
        if line is None:
            return self.name
        if self.first_line is None:
            return f"{self.name}: line {line} of the code"
        line = self.line(line) or line
        return (
            f"{self.file}:{line}: {self.name}"
            if self.file
            else f"{self.name}: line {line} of the scorecard"
        )

    def line(self, line: int | None) -> int | None:
        """Return the file's line of a line of the code, if it can be told."""
        if line is None or self.first_line is None:
            return None
        return self.first_line + line - 1

    def error(self, message: str, line: int | None = None) -> ScorecardError:
        """Return an error at a line of the code; its message says the line where the file's is not known."""
        known = self.line(line)
        if line is not None and known is None:
            message = f"{message} (line {line} of the code)"
        return ScorecardError(message, file=self.file, line=known)


class CodeFunction:
    """A function of a scorecard's code.

    A restricted function that has been quick (2 ms) runs on the event loop, where a thread's hand-over would cost more
    than the call. Should it then take longer than 20 ms, it is stopped and called anew in a thread, as any other
    function is from the start. Its steps are counted and it is stopped at its bounds either way.
    """

    def __init__(self, function: Callable[..., Any], *, place: CodePlace, trusted: bool) -> None:
        self._function = function
        self._place = place
        self._trusted = trusted
        self._quick = False

    async def __call__(self, *args: Any) -> Any:
        """Call the function with arguments that it does not change; see `call_with`."""
        return await self.call_with(lambda: args)

    async def call_with(self, arguments: Callable[[], tuple[Any, ...]]) -> Any:
        """Call the function.

        Args:
            arguments: Makes the arguments, anew for each try: a try that is stopped may have changed them.

        Raises:
            ScoreFailed: The code raised. The message has the line.
            BudgetExceeded: It ran too long, took too many steps or made too large a value.
        """
        if self._quick and not self._trusted:
            try:
                return self._run(_meter(INLINE_SECONDS, wall=INLINE_SECONDS), arguments())
            except BudgetExceeded:
                self._quick = False
        meter = None if self._trusted else _meter(MAX_SECONDS)
        context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(
            _threads(), context.run, self._run, meter, arguments()
        )
        try:
            return await running
        except asyncio.CancelledError:
            if meter is not None:
                meter.cancel()
            raise

    def _run(self, meter: metering.Meter | None, args: tuple[Any, ...]) -> Any:
        began = time.perf_counter()
        if meter is not None:
            meter.start()
        token = metering.METER.set(meter)
        try:
            value = self._function(*args)
        except metering.Stopped as stop:
            raise BudgetExceeded(f"{self._place.at(_line(stop))}: stopped, {stop}") from None
        except MemoryError as error:
            place = self._place.at(_line(error))
            raise BudgetExceeded(f"{place}: stopped, out of memory") from error
        except Exception as error:
            line = _line(error)
            raise ScoreFailed(f"{self._place.at(line)}: {_summary(error)}") from error
        finally:
            metering.METER.reset(token)
            self._quick = time.perf_counter() - began < _QUICK_SECONDS
        if meter is not None and meter.stopped is not None:
            raise BudgetExceeded(f"{self._place}: stopped, {meter.stopped}")
        return value


def _meter(seconds: float, *, wall: float | None = None) -> metering.Meter:
    return metering.Meter(steps=MAX_STEPS, seconds=seconds, memory=MAX_MEMORY, wall=wall)


def compile_function(
    source: str,
    name: str,
    *,
    place: CodePlace = CodePlace("code"),
    extra_globals: Mapping[str, Any] | None = None,
    trusted: bool | None = None,
) -> CodeFunction:
    """Compile `source`, run its top level, and return its function `name`.

    Args:
        source: The YAML's ``code``.
        name: The function to call, for example ``score``.
        place: Where the code stands.
        extra_globals: Names that the code finds defined. Module objects are replaced or refused.
        trusted: Run it plainly. None: as ``PLEXUS_SCORING_TRUST_CODE`` says (``1``: yes).

    Raises:
        ScorecardError: A syntax error, something a scorecard may not do, no such function, an error at its top level
            or one that runs too long. `line` is the file's where `place` tells it.
    """
    if trusted is None:
        trusted = os.environ.get("PLEXUS_SCORING_TRUST_CODE") == "1"
    try:
        code = _compile(source, trusted=trusted)
    except _Unreadable as error:
        raise place.error(error.message, error.line) from error.__cause__
    namespace = dict(extra_globals or {})
    if not trusted:
        namespace = {key: _exposed(key, value) for key, value in namespace.items()}
        namespace |= GUARDS
        namespace["__builtins__"] = {**BUILTINS, "__import__": guarded_import}
    else:
        namespace.setdefault("__name__", MODULE_NAME)
    _run_top_level(code, namespace, place, metered=not trusted)
    function = namespace.get(name)
    if not callable(function):
        raise place.error(f"the code must define a function {name!r}")
    if inspect.iscoroutinefunction(function):
        raise place.error(f"{name!r} must be a plain function, not an async one")
    return CodeFunction(function, place=place, trusted=trusted)


def _exposed(name: str, value: Any) -> Any:
    if not isinstance(value, types.ModuleType):
        return value
    if value.__name__ in _REPLACED:
        return load(value.__name__)
    raise ScorecardError(f"the module {name!r} cannot be given to restricted code")


class _Unreadable(Exception):
    """Why code does not compile, and at which of its lines."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@lru_cache(maxsize=512)
def _compile(source: str, *, trusted: bool) -> types.CodeType:
    if len(source) > MAX_SOURCE:
        raise _Unreadable(f"the code is longer than {MAX_SOURCE:,} characters")
    try:
        tree = ast.parse(source, _FILENAME)
        if trusted:
            return compile(tree, _FILENAME, "exec", dont_inherit=True)
        restricted: types.CodeType = compile_restricted(
            tree, _FILENAME, "exec", policy=ScorecardPolicy, dont_inherit=True
        )
    except SyntaxError as error:
        raise _syntax_error(error) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _Unreadable(f"it cannot be read: {error}") from error
    return restricted


def _syntax_error(error: SyntaxError) -> _Unreadable:
    # RestrictedPython reports its refusals as one SyntaxError whose argument is a tuple of "Line N: …" texts.
    if error.args and isinstance(error.args[0], tuple):
        first = str(error.args[0][0])
        place, _, message = first.partition(": ")
        digits = place.removeprefix("Line ")
        line = int(digits) if digits.isdigit() else None
        return _Unreadable(
            f"{message or first} (PLEXUS_SCORING_TRUST_CODE=1 lifts restrictions for authors you trust)",
            line,
        )
    return _Unreadable(f"syntax error: {error.msg}", error.lineno)


def _run_top_level(
    code: types.CodeType, namespace: dict[str, Any], place: CodePlace, *, metered: bool
) -> None:
    token = metering.METER.set(_meter(MAX_SECONDS) if metered else None)
    try:
        exec(code, namespace)  # noqa: S102 - restricted by the policy above, or trusted by the operator
    except metering.Stopped as stop:
        raise place.error(
            f"what it does outside of functions was stopped, {stop}: move it into the function",
            _line(stop),
        ) from None
    except Exception as error:
        raise place.error(_summary(error), _line(error)) from error
    finally:
        metering.METER.reset(token)


def _summary(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(error: BaseException) -> int | None:
    """Return the line of the code that raised, or that called what raised."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == _FILENAME]
    return lines[-1] if lines else None


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """Return the threads for code, and keep the interpreter free for whoever waits for it beside them.

    Each system call of the process gives the interpreter up and waits for it anew, by default 5 ms for each thread that
    computes: a lease's renewal is dozens of such calls.
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="scorecard-code")
