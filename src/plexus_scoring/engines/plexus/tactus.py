"""TactusScore: a procedure in Lua, run by the package `tactus` in a process that ends with it.

The contract is that of Plexus's class (plexus/scores/TactusScore.py): what the procedure is given, and what is made of
its output.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from plexus_scoring.engines.plexus.isolation import HostSpec
from plexus_scoring.engines.plexus.outcome import cost_of_calls, is_passing
from plexus_scoring.engines.plexus.pool import HostPool
from plexus_scoring.engines.plexus.process import HostProcess
from plexus_scoring.engines.portable.base import ScoreInput, ScoreRun, ScoreSource
from plexus_scoring.engines.portable.code.answer import MAX_CHARACTERS
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.language.scores import TactusScore as Configuration
from plexus_scoring.model.errors import (
    BudgetExceeded,
    ConfigurationError,
    DeadlineExceeded,
    ProviderDown,
    ScoreFailed,
    shorten,
)
from plexus_scoring.model.result import ScoreOutcome

log = logging.getLogger(__name__)

LONGEST_SECONDS = 900.0
_CONFIDENCE: Final = {
    "high": 0.9, "medium": 0.6, "med": 0.6, "low": 0.3, "very high": 0.95, "very low": 0.1,
}  # fmt: skip
# Keys of metadata that hold JSON as text where an item comes from Plexus.
_JSON_KEYS = ("metadata", "schools", "other_data")
# What the graph scores' metadata has beside the item's own.
_GRAPH_KEYS = ("account_key", "scorecard_name", "score_name")
_ASKS_MODELS = re.compile(
    r"\b(?:Agent|Model|LM|Classify\w*|default_model|require|DSPyAgent|Module)\b"
)


class TactusRunner:
    """Runs procedures. The process is started, and `tactus` imported, by the first one.

    Args:
        spec: How the process that has `tactus` is started.
        size: Processes at most.
    """

    def __init__(self, spec: HostSpec, *, size: int = 1) -> None:
        self._pool = HostPool(spec, size=size)

    async def run(
        self, name: str, code: str, context: Mapping[str, Any], deadline: float | None
    ) -> dict[str, Any]:
        """Return what the host says of one run.

        Raises:
            ConfigurationError: there is no `tactus`, or it cannot be imported.
            EngineUnavailable: the process ended.
            DeadlineExceeded: the run did not end before the deadline (seconds since the epoch).
        """
        latest = time.time() + LONGEST_SECONDS
        deadline = latest if deadline is None else min(deadline, latest)
        host = await self.load(models=bool(_ASKS_MODELS.search(code)), deadline=deadline)
        left = max(0.0, deadline - time.time())
        message = {"op": "run", "name": name, "code": code, "context": context, "seconds": left}
        try:
            return await host.ask(message, within=left)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the score {name!r}: its Lua did not end within {left:.0f} s"
            ) from None

    async def load(self, *, models: bool, deadline: float) -> HostProcess:
        """Start a process and import `tactus`, with or without what asks models. Raises ConfigurationError."""
        if (await self._pool.host()).hello.tactus is None:
            raise ConfigurationError(
                f"the package tactus is not installed for {self._pool.spec.python} (PLEXUS_PYTHON): install"
                " requirements/tactus.txt there, or Plexus"
            )
        what = "tactus and its models" if models else "tactus"
        return await self._pool.ready(what, deadline=deadline, models=models)

    async def aclose(self) -> None:
        """End the processes. Safe to call twice."""
        await self._pool.aclose()


class TactusScore:
    """A compiled TactusScore. Implements `PortableScore`."""

    def __init__(self, source: ScoreSource, runner: TactusRunner) -> None:
        """Check the configuration. Raises ScorecardError."""
        self.configuration = read(Configuration, source.entry, source)
        self._name = source.name
        code = self.configuration.code or self.configuration.tactus_code
        if not code:
            raise source.error("has no `code`: the procedure, in Lua")
        self._code = code
        self._runner = runner

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:
        """Run the procedure."""
        answer = await self._runner.run(self._name, self._code, _context(given), run.deadline)
        if "error" in answer:
            raise self._died(answer["error"])
        result = answer["ok"]
        if not result.get("success"):
            said = shorten(str(result.get("error")), 500)
            if is_passing(said):
                raise ProviderDown(f"the score {self._name!r}: {said}")
            raise ScoreFailed(f"the score {self._name!r}: {said}")
        output = result.get("output")
        fields = output if isinstance(output, Mapping) else {"value": output}
        value = fields.get("value")
        if value is None:
            raise ScoreFailed(f"the score {self._name!r}: its procedure returned no `value`")
        explanation = fields.get("explanation")
        if len(str(value)) + len(str(explanation)) > MAX_CHARACTERS:
            raise BudgetExceeded(
                f"the score {self._name!r}: its procedure returned more than {MAX_CHARACTERS:,} characters: "
                "return a shorter value and explanation"
            )
        known = self.configuration.valid_classes
        if known and str(value) not in known:
            log.warning("the score %r is none of its valid_classes", self._name)
        return ScoreOutcome(
            value=str(value),
            explanation=None if explanation is None else str(explanation),
            confidence=_confidence(fields.get("confidence")),
            cost=cost_of_calls(result.get("calls") or ()),
            metadata={"engine": "tactus"},
        )

    def _died(self, error: Mapping[str, Any]) -> ScoreFailed:
        kind, said = str(error.get("kind")), shorten(str(error.get("message")), 500)
        if kind in {"MemoryError", "LuaMemoryError", "Died"}:
            return ScoreFailed(
                f"the score {self._name!r}: its Lua used too much memory or time, or ended its process ({said})"
            )
        return ScoreFailed(f"the score {self._name!r}: {kind}: {said}")


def _context(given: ScoreInput) -> dict[str, Any]:
    """Return what a procedure is given: metadata's JSON as tables, and results only where there are any."""
    metadata = {key: value for key, value in given.metadata.items() if key not in _GRAPH_KEYS}
    for key in _JSON_KEYS:
        if isinstance(metadata.get(key), str):
            try:
                metadata[key] = json.loads(metadata[key])
            except ValueError:
                log.info("the metadata %r is no JSON: the procedure gets it as text", key)
    context: dict[str, Any] = {"text": given.text, "metadata": metadata}
    if given.results:
        names = ("value", "explanation", "confidence")
        context["results"] = [
            {name: result.get(name) for name in names} for result in given.results.values()
        ]
    return context


def _confidence(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _CONFIDENCE.get(value.lower().strip())
    if not isinstance(value, int | float):
        return None
    return max(0.0, min(1.0, float(value)))
