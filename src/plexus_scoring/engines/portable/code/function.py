"""A function of a scorecard's code: where it runs, and what it is given."""

from __future__ import annotations

import asyncio
import keyword
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from plexus_scoring.engines.portable.code.answer import (
    MAX_CHARACTERS,
    Answer,
    read_answer,
)
from plexus_scoring.engines.portable.code.interpreter import Interpreter
from plexus_scoring.engines.portable.code.place import CodePlace
from plexus_scoring.engines.portable.code.program import Program
from plexus_scoring.engines.portable.code.rewrite import rewritten
from plexus_scoring.engines.portable.code.source import SCORE, TRUST, library, problems_of
from plexus_scoring.engines.portable.code.trusted import TrustedFunction

# Names of the prelude (inside/prelude.py); the arguments are parts of the one input.
_CLASSIFIER: Final = (
    "{name}(_PlexusParameters(**_plexus_given['parameters']), "
    "_PlexusInput(_plexus_given['text'], _plexus_given['metadata']))"
)
_NODE: Final = (
    "{name}({{'state': _PlexusState(_plexus_given['state']), 'text': _plexus_given['text'], "
    "'metadata': _plexus_given['metadata'], "
    "'parameters': _PlexusParameters(**_plexus_given['parameters'])}})"
)

_LARGE: Final = 20_000
"""Characters of an answer that are read on the event loop, in a few milliseconds. More are read in a thread."""


class ScorecardFunction(Protocol):
    """What a node calls."""

    async def __call__(self, given: Mapping[str, Any]) -> Answer:
        """Call the function with copies of what is given, and return what it returned.

        Raises:
            CodeRaised: The code raised.
            BudgetExceeded: It took too much time or memory, or returned or printed too much.
            ScorecardError: Only running shows that the code is wrong, for example at its top level.
        """
        ...


def function_of(
    code: str,
    name: str,
    *,
    place: CodePlace,
    interpreter: Interpreter | None,
    with_state: bool = False,
) -> ScorecardFunction:
    """Return a function of a scorecard's code. Nothing of the code is run unless it is trusted.

    Args:
        code: The YAML's ``code``.
        name: The function to call.
        place: Where the code stands.
        interpreter: Where it runs; None: in this process, because the operator trusts the author.
        with_state: Whether the function is a LogicalNode's. It is called with `context` and is given ``parameters``,
            ``text``, ``metadata`` and ``state``. A LogicalClassifier's is called with ``parameters`` and ``input``, is
            given the same without ``state``, and knows `Score`.

    Raises:
        ScorecardError: A syntax error, what the interpreter cannot run, or no such function.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise place.error(f"{name!r} is no name of a function")
    call = (_NODE if with_state else _CLASSIFIER).format(name=name)
    if interpreter is None:
        return TrustedFunction(code, name, call, place, with_score=not with_state)
    for problem in problems_of(code, name):
        remedy = problem.fix if TRUST in problem.fix else f"{problem.fix}; {TRUST}"
        raise place.error(f"{problem.message}: {remedy}", problem.line)
    return _InterpretedFunction(interpreter, code, call, place, with_score=not with_state)


class _InterpretedFunction:
    def __init__(
        self, interpreter: Interpreter, code: str, call: str, place: CodePlace, *, with_score: bool
    ) -> None:
        try:
            written = rewritten(code)
        except (RecursionError, ValueError):
            raise place.error("the code is nested too deeply: simplify it") from None
        self._interpreter = interpreter
        self._program = Program(
            prelude=_prelude(written.modules) + (SCORE if with_score else ""),
            code=written.text,
            # An f-string is a text whatever the code did to the names in it: none of its objects is converted here.
            call=f'f"{{_plexus_answer({call})}}"[:{MAX_CHARACTERS + 1}]',
            place=place,
        )

    async def __call__(self, given: Mapping[str, Any]) -> Answer:
        text = await self._interpreter.call(self._program, given)
        if len(text) > _LARGE:
            return await asyncio.to_thread(read_answer, text, self._program.place)
        return read_answer(text, self._program.place)


@lru_cache(maxsize=64)
def _prelude(modules: tuple[str, ...]) -> str:
    """Return the prelude and the modules that the code imports."""
    parts = [library("prelude"), library("builtins"), "_plexus_modules = {}"]
    for number, name in enumerate(modules):
        space = f"_plexus_space{number}"
        parts.append(
            f"{space} = {{}}\nexec({library(name)!r}, {space})\n"
            f"_plexus_modules[{name!r}] = _PlexusNames({space})"
        )
        package, dot, module = name.rpartition(".")
        if dot:
            whole = f"{{{module!r}: _plexus_modules[{name!r}]}}"
            parts.append(f"_plexus_modules[{package!r}] = _PlexusNames({whole})")
    if "logging" in modules:
        parts.append("logging = _plexus_modules['logging']")
    return "\n".join(parts)
