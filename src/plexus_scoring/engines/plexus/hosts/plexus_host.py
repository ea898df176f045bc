"""Runs Plexus for the service, in a process and with packages of its own.

    PYTHON -I plexus_host.py '{"memory_bytes": …}'

Messages in: `load`, `score`, `cancel`. Messages out: `hello`, the jobs' logs, and for each job one of `ok`, `error`,
`need` (a scorecard that this process does not have). The end of stdin ends the process.

Plexus is written for a process of its own, and here it has one. What stays to be done: its CloudWatch client would
make fifteen blocking calls a score, and its token counts need a table that is downloaded. Nobody receives either.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
from collections import OrderedDict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plexus_scoring.engines.plexus.hosts import host_wire, lua_reach
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    import host_wire
    import lua_reach

    del sys.path[0]

MAX_SCORECARDS = 32
_READ = 1 << 16


class NoSuchClass(Exception):
    """Plexus has no class of a score's name."""


class NoCloudWatch:
    """Stands in for Plexus's CloudWatch client."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take whatever the real one takes."""

    def log_metric(self, *_: Any, **__: Any) -> None:
        """Send nothing."""


class PlexusHost:
    """The jobs of this process, on one event loop that lives as long as it: Plexus's clients belong to theirs."""

    def __init__(self, wire: host_wire.Wire) -> None:
        self._wire = wire
        self._scorecard_class: Any = None
        self._cards: OrderedDict[str, Any] = OrderedDict()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Take messages until stdin ends, which ends the process, whatever holds the loop."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            decoder = host_wire.Decoder()
            while data := os.read(0, _READ):
                for message in decoder.feed(data):
                    loop.call_soon_threadsafe(self._take, message)
            os._exit(0)

        threading.Thread(target=read, name="messages", daemon=True).start()
        await asyncio.Event().wait()

    def _take(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if message["op"] == "cancel":
            task = self._tasks.get(number)
            if task is not None:
                task.cancel()
            return
        work = self._load() if message["op"] == "load" else self._score(message)
        task = self._tasks[number] = asyncio.create_task(self._answer(number, work))
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, number: int, work: Any) -> None:
        log = host_wire.JobLog(self._wire, number)
        host_wire.JobLog.current.set(log)
        try:
            answer = await work
        except asyncio.CancelledError:
            answer = {"error": {"kind": "Cancelled", "message": "cancelled"}}
        except Exception as error:  # noqa: BLE001  whatever a score raises is the job's, not the host's
            answer = {
                "error": {"kind": type(error).__name__, "message": str(error), "args": error.args}
            }
        log.send()
        self._wire.send({"id": number, **answer})

    async def _load(self) -> dict[str, Any]:
        """Import Plexus, in a thread: it takes seconds, and messages are answered meanwhile."""
        await asyncio.to_thread(self._import)
        return {"ok": {}}

    def _import(self) -> None:
        module = importlib.import_module("plexus.Scorecard")
        importlib.import_module("plexus.scores.LangGraphScore")
        for name in list(logging.root.manager.loggerDict):
            own = logging.getLogger(name)
            if name.partition(".")[0] == "plexus":
                own.handlers.clear()
                own.propagate = True
        host_wire.own_the_log()
        nltk = sys.modules.get("nltk")
        if nltk is not None:
            # Some nodes download data that they never read, whenever they are made, and block until that has failed.
            nltk.download = lambda *_, **__: False  # type: ignore[attr-defined]
        if "tactus.core.lua_sandbox" in sys.modules:
            lua_reach.restrain_tactus()
        no_encoding = SimpleNamespace(encode=lambda _: ())
        module.tiktoken = SimpleNamespace(get_encoding=lambda _: no_encoding)  # type: ignore[attr-defined]
        module.CloudWatchLogger = NoCloudWatch  # type: ignore[attr-defined]
        self._scorecard_class = module.Scorecard

    async def _score(self, message: dict[str, Any]) -> dict[str, Any]:
        card = self._card(message)
        if card is None:
            return {"need": "card"}
        item = message["item"]
        try:
            results = await card.score_entire_text(
                text=item["text"],
                metadata=dict(item["metadata"]),
                modality="Production",
                subset_of_score_names=[message["score"]],
                item=SimpleNamespace(**item),
            )
        finally:
            # Plexus adds up for ever what a scorecard that is kept has spent.
            card.cost_components.clear()
        return {"ok": {str(score): _plain(result) for score, result in (results or {}).items()}}

    def _card(self, message: dict[str, Any]) -> Any:
        """Return Plexus's scorecard for one score and what it depends on, made once for a version."""
        key = message["key"]
        card = self._cards.get(key)
        if card is not None:
            self._cards.move_to_end(key)
            return card
        given = message.get("card")
        if given is None:
            return None
        entries = [_unpaired(entry) for entry in given["entries"]]
        card = self._scorecard_class.create_instance_from_api_data(
            given["id"], given["structure"], entries
        )
        # A score that is not at hand must fail, not be fetched a second time.
        card.yaml_only = True
        card.cloudwatch_logger = NoCloudWatch()
        for entry in entries:
            if card.score_registry.get(entry["name"]) is None:
                raise NoSuchClass(entry["name"], entry["class"])
        self._cards[key] = card
        while len(self._cards) > MAX_SCORECARDS:
            self._cards.popitem(last=False)
        return card


def _unpaired(value: Any) -> Any:
    """Return a value of a scorecard with its keys as they were: JSON's are texts only."""
    if isinstance(value, dict):
        return {key: _unpaired(part) for key, part in value["pairs"]}
    return [_unpaired(part) for part in value] if isinstance(value, list) else value


def _plain(result: Any) -> dict[str, Any] | None:
    """Return what the service needs of a Score.Result. Its copies of the text stay here."""
    if isinstance(result, list):
        result = result[0] if result else None
    if result is None:
        return None
    metadata = getattr(result, "metadata", None)
    metadata = metadata if isinstance(metadata, dict) else {}
    tactus = metadata.get("tactus_output")
    return {
        "value": getattr(result, "value", result),
        "explanation": _explanation(getattr(result, "explanation", None), metadata),
        "confidence": getattr(result, "confidence", None),
        "error": getattr(result, "error", None),
        "exception_type": metadata.get("exception_type"),
        "cost": metadata.get("cost"),
        "trace": metadata.get("trace"),
        "calls": host_wire.model_calls(tactus) if isinstance(tactus, dict) else None,
    }


def _explanation(own: Any, metadata: dict[str, Any]) -> Any:
    """Return the explanation that is stored: the item's own, unless the score's code (LogicalClassifier) gave one."""
    for entry in (metadata.get("trace") or {}).get("node_results") or ():
        output = entry.get("output") or {}
        coded = "condition" not in entry and {"classification", "value"} <= set(output)
        if coded and own is not None and output.get("explanation") == own:
            return own
    return metadata.get("explanation", own)


if __name__ == "__main__":
    _wire, _options = host_wire.start()
    asyncio.run(PlexusHost(_wire).serve())
