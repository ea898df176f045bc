"""Plexus (github.com/AnthusAI/Plexus) behind the ScoringEngine port, in processes of its own."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from typing import Any

from plexus_scoring.engines.plexus.configuration import Configuration
from plexus_scoring.engines.plexus.isolation import HostSpec
from plexus_scoring.engines.plexus.outcome import outcome_of
from plexus_scoring.engines.plexus.pool import HostPool
from plexus_scoring.engines.plexus.process import Hello, HostProcess
from plexus_scoring.model.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DependencyUnmet,
    InvalidRequest,
    ScorecardError,
    ScoreFailed,
    ScoringError,
    shorten,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext

log = logging.getLogger(__name__)

MAX_SCORECARDS = 32
LONGEST_SECONDS = 900.0
_HOW = (
    "install it from its repository, https://github.com/AnthusAI/Plexus (it is on no package index)"
)


class PlexusEngine:
    """Implements `ScoringEngine`. A process is started, and Plexus imported, by the first score.

    Args:
        spec: How the process that holds Plexus is started.
        size: Processes at most.
        timeout: Longest time for one score without a deadline (seconds).
    """

    def __init__(self, spec: HostSpec, *, size: int = 1, timeout: float = LONGEST_SECONDS) -> None:
        self._pool = HostPool(spec, size=size)
        self._timeout = timeout
        self._configurations: OrderedDict[str, Configuration] = OrderedDict()

    async def score(self, context: ScoreContext) -> ScoreOutcome:
        """Compute the score; see `ScoringEngine.score`. Raises ConfigurationError where Plexus is not installed."""
        item = context.item
        if item.text is None:
            raise InvalidRequest(f"the item {item.id!r} has no text: there is nothing to score")
        configuration = self._configuration(context.scorecard)
        name = configuration.find(context.score)
        names = configuration.closure(name)
        deadline = time.time() + self._timeout
        if context.deadline is not None:
            deadline = min(deadline, context.deadline)
        self._check(await self.hello())
        host = await self._pool.ready("Plexus", deadline=deadline)
        message = {
            "op": "score",
            "key": f"{configuration.scorecard.version}/{name}",
            "score": name,
            "item": _item(item),
        }
        left = deadline - time.time()
        try:
            answer = await _ask(host, message, configuration, names, deadline)
        except TimeoutError:
            raise DeadlineExceeded(
                f"Plexus did not end the score {name!r} within {left:.0f} s"
            ) from None
        if "error" in answer:
            raise _translated(answer["error"], name, configuration.scorecard.file)
        return outcome_of(answer["ok"], configuration.id_of(name), name)

    async def holds_plexus(self) -> bool:
        """Whether the interpreter has Plexus. Does not import it. Raises ConfigurationError."""
        return (await self.hello()).plexus is not None

    async def hello(self) -> Hello:
        """Return which packages the interpreter has. Raises ConfigurationError."""
        return (await self._pool.host()).hello

    async def load(self) -> HostProcess:
        """Start a process and import Plexus. Raises ConfigurationError."""
        self._check(await self.hello())
        return await self._pool.ready("Plexus", deadline=time.time() + self._timeout)

    async def aclose(self) -> None:
        """End the processes. Safe to call twice."""
        await self._pool.aclose()

    def _check(self, hello: Hello) -> None:
        if hello.plexus is not None:
            return
        python = self._pool.spec.python
        if hello.unrelated is not None:
            raise ConfigurationError(
                f"the package that {python} has ({shorten(hello.unrelated, 200)}) is not AnthusAI's Plexus but an"
                f" unrelated project of the same name, as PyPI has it: uninstall it and {_HOW}"
            )
        raise ConfigurationError(f"Plexus is not installed for {python} (PLEXUS_PYTHON): {_HOW}")

    def _configuration(self, scorecard: Scorecard) -> Configuration:
        found = self._configurations.get(scorecard.version)
        if found is None:
            found = self._configurations[scorecard.version] = Configuration(scorecard)
            while len(self._configurations) > MAX_SCORECARDS:
                self._configurations.popitem(last=False)
        return found


async def _ask(
    host: HostProcess,
    message: dict[str, Any],
    configuration: Configuration,
    names: list[str],
    deadline: float,
) -> dict[str, Any]:
    """Ask for a score, and send the scorecard with it where the process does not have it."""
    key = message["key"]
    answer: dict[str, Any] = {"need": "card"}
    if key in host.sent:
        answer = await host.ask(message, within=deadline - time.time())
    if answer.get("need") == "card":
        structure, entries = configuration.for_package(names)
        card = {
            "id": configuration.scorecard.id,
            "structure": structure,
            "entries": [_pairs(entry) for entry in entries],
        }
        host.sent.add(key)
        answer = await host.ask({**message, "card": card}, within=deadline - time.time())
    return answer


def _pairs(value: Any) -> Any:
    """Return a value of a scorecard for JSON: its keys may be numbers, booleans or nothing, and must stay so."""
    if isinstance(value, dict):
        return {"pairs": [[key, _pairs(part)] for key, part in value.items()]}
    return [_pairs(part) for part in value] if isinstance(value, list) else value


def _item(item: Item) -> dict[str, Any]:
    """Return the item as Plexus's input sources look at it."""
    return {
        "id": item.id,
        "text": item.text,
        "metadata": item.metadata,
        "externalId": item.external_id,
        "attachedFiles": list(item.attached_files),
    }


def _translated(error: dict[str, Any], name: str, file: str | None) -> ScoringError:
    """Return what Plexus raised in our words; the score's own error is kept."""
    kind, said = str(error.get("kind")), str(error.get("message"))
    if kind == "NoSuchClass":
        wanted, class_name = error["args"]
        return ScorecardError(f"score {wanted!r}: Plexus has no class {class_name!r}", file=file)
    if kind == "SkippedScoreException":
        return DependencyUnmet(f"the score {name!r}: {shorten(said)}")
    if kind == "BatchProcessingPause":
        return ScoreFailed(f"the score {name!r} waits for a batch, which this service does not run")
    if "PLEXUS_ACCOUNT_KEY" in said:
        return ConfigurationError("Plexus scores need PLEXUS_ACCOUNT_KEY to be set")
    return ScoreFailed(f"the score {name!r}: {kind}: {shorten(said, 500)}")
