"""Compile a scorecard's Python and call one of its functions, bounded in time and memory."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import inspect
import os
import time
import traceback
import types
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
_QUICK_SECONDS: Final = 0.002
_THREADS: Final = 4

# Modules that the engine may hand over as globals, by the names that restricted code gets in their place.
_REPLACED: Final = frozenset({"logging"})


class CodeFunction:
    """A function of a scorecard's code. Calling it awaits its value.

    A function that has been quick (2 ms) runs on the event loop, where a thread's hand-over would cost more than
    the call; any other runs in a thread. Either way its steps are counted and it is stopped at its bounds.
    """

    def __init__(self, function: Callable[..., Any], *, filename: str, trusted: bool) -> None:
        self._function = function
        self._filename = filename
        self._trusted = trusted
        self._quick = False

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        Raises:
            ScoreFailed: The code raised. The message has the line within the code.
            BudgetExceeded: It ran too long, took too many steps or made too large a value.
        """
        if self._quick:
            return self._run(self._new_meter(), args, kwargs)
        meter = self._new_meter()
        context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(
            _threads(), context.run, self._run, meter, args, kwargs
        )
        try:
            return await running
        except asyncio.CancelledError:
            if meter is not None:
                meter.cancel()
            raise

    def _new_meter(self) -> metering.Meter | None:
        if self._trusted:
            return None
        return metering.Meter(steps=MAX_STEPS, seconds=MAX_SECONDS, memory=MAX_MEMORY)

    def _run(
        self, meter: metering.Meter | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        began = time.perf_counter()
        token = metering.METER.set(meter)
        try:
            value = self._function(*args, **kwargs)
        except metering.Stopped as stop:
            raise BudgetExceeded(f"{self._filename}: stopped, {stop}") from None
        except MemoryError as error:
            raise BudgetExceeded(f"{self._filename}: stopped, out of memory") from error
        except Exception as error:
            raise _failed(error, self._filename) from error
        finally:
            metering.METER.reset(token)
            self._quick = time.perf_counter() - began < _QUICK_SECONDS
        if meter is not None and meter.stopped is not None:
            raise BudgetExceeded(f"{self._filename}: stopped, {meter.stopped}")
        return value


def compile_function(
    source: str,
    name: str,
    *,
    filename: str = "<code>",
    extra_globals: Mapping[str, Any] | None = None,
    trusted: bool | None = None,
) -> CodeFunction:
    """Compile `source`, run its top level, and return its function `name`.

    Args:
        source: The YAML's ``code``.
        name: The function to call, for example ``score``.
        filename: What error messages call the code, for example the score's name.
        extra_globals: Names that the code finds defined. Module objects are replaced or refused.
        trusted: Run it plainly. None: as ``PLEXUS_SCORING_TRUST_CODE`` says (``1``: yes).

    Raises:
        ScorecardError: A syntax error, something a scorecard may not do, an error at its top level, no such function.
        BudgetExceeded: Its top level ran too long.
    """
    if trusted is None:
        trusted = os.environ.get("PLEXUS_SCORING_TRUST_CODE") == "1"
    code = _compile(source, filename, trusted=trusted)
    namespace = dict(extra_globals or {})
    if not trusted:
        namespace = {key: _exposed(key, value) for key, value in namespace.items()}
        namespace |= GUARDS
        namespace["__builtins__"] = {**BUILTINS, "__import__": guarded_import}
    else:
        namespace.setdefault("__name__", MODULE_NAME)
    _run_top_level(code, namespace, filename, metered=not trusted)
    function = namespace.get(name)
    if not callable(function):
        raise ScorecardError(f"the code must define a function {name!r}", file=filename)
    if inspect.iscoroutinefunction(function):
        raise ScorecardError(f"{name!r} must be a plain function, not an async one", file=filename)
    return CodeFunction(function, filename=filename, trusted=trusted)


def _exposed(name: str, value: Any) -> Any:
    if not isinstance(value, types.ModuleType):
        return value
    if value.__name__ in _REPLACED:
        return load(value.__name__)
    raise ScorecardError(f"the module {name!r} cannot be given to restricted code")


@lru_cache(maxsize=512)
def _compile(source: str, filename: str, *, trusted: bool) -> types.CodeType:
    if len(source) > MAX_SOURCE:
        raise ScorecardError(f"the code is longer than {MAX_SOURCE:,} characters", file=filename)
    try:
        tree = ast.parse(source, filename)
        if trusted:
            return compile(tree, filename, "exec", dont_inherit=True)
        restricted: types.CodeType = compile_restricted(
            tree, filename, "exec", policy=ScorecardPolicy, dont_inherit=True
        )
    except SyntaxError as error:
        raise _syntax_error(error, filename) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScorecardError(f"the code cannot be read: {error}", file=filename) from error
    return restricted


def _syntax_error(error: SyntaxError, filename: str) -> ScorecardError:
    # RestrictedPython reports its refusals as one SyntaxError whose argument is a tuple of "Line N: …" texts.
    if error.args and isinstance(error.args[0], tuple):
        first = str(error.args[0][0])
        place, _, message = first.partition(": ")
        digits = place.removeprefix("Line ")
        line = int(digits) if digits.isdigit() else None
        return ScorecardError(
            f"{message or first} (PLEXUS_SCORING_TRUST_CODE=1 lifts restrictions for authors you trust)",
            file=filename,
            line=line,
        )
    return ScorecardError(
        f"syntax error: {error.msg}", file=filename, line=error.lineno, column=error.offset
    )


def _run_top_level(
    code: types.CodeType, namespace: dict[str, Any], filename: str, *, metered: bool
) -> None:
    meter = (
        metering.Meter(steps=MAX_STEPS, seconds=MAX_SECONDS, memory=MAX_MEMORY) if metered else None
    )
    token = metering.METER.set(meter)
    try:
        exec(code, namespace)  # noqa: S102 - restricted by the policy above, or trusted by the operator
    except metering.Stopped as stop:
        raise BudgetExceeded(f"{filename}: stopped, {stop}") from None
    except Exception as error:
        line = _line(error, filename)
        raise ScorecardError(_summary(error), file=filename, line=line) from error
    finally:
        metering.METER.reset(token)


def _failed(error: Exception, filename: str) -> ScoreFailed:
    line = _line(error, filename)
    place = filename if line is None else f"{filename}:{line}"
    return ScoreFailed(f"{place}: {_summary(error)}")


def _summary(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(error: BaseException, filename: str) -> int | None:
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == filename]
    return lines[-1] if lines else None


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="scorecard-code")
