"""The part of Plexus's contract that the host uses, as recorded from release 1.50.1.

A score of the stand-in says in its own keys what it does: see `_Score.run`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from decimal import Decimal
from typing import Any

import plexus.scores.LangGraphScore  # noqa: F401  as the real one

CLASSES = ("LangGraphScore", "TactusScore")
tiktoken: Any = None
CloudWatchLogger: Any = None
meeting: list[asyncio.Future[None]] = []

# As the real one: its loggers have handlers of their own, and importing it sets up the root's.
logging.basicConfig(level=logging.DEBUG, stream=sys.__stdout__, force=True)
logging.getLogger("plexus.scores").addHandler(logging.StreamHandler(sys.__stdout__))


class SkippedScoreException(Exception):
    """A score that its conditions left out."""


class Result:
    def __init__(self, value: Any, explanation: Any = None, **more: Any) -> None:
        self.value, self.explanation = value, explanation
        self.confidence = more.pop("confidence", None)
        self.error = more.pop("error", None)
        self.metadata = more


class Registry:
    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._known = {
            entry["name"].lower(): entry for entry in entries if entry["class"] in CLASSES
        }

    def get(self, name: str) -> Any:
        return self._known.get(name.lower())


class Scorecard:
    """Plexus's class, as far as the host sees it."""

    def __init__(self, card_id: str, structure: Any, entries: list[dict[str, Any]]) -> None:
        self.id, self.structure, self.entries = card_id, structure, entries
        self.cost_components: list[Any] = []
        self.yaml_only = False
        self.cloudwatch_logger: Any = None
        self.score_registry = Registry(entries)
        self.asked = 0

    @classmethod
    def create_instance_from_api_data(cls, card_id: str, structure: Any, entries: Any) -> Scorecard:
        return cls(card_id, structure, entries)

    async def score_entire_text(self, **call: Any) -> dict[str, Any]:
        self.asked += 1
        logging.info("the text is %s", call["text"])
        print("a debug print")
        logging.getLogger("plexus.scores").warning("a warning of Plexus")
        self.cost_components.append({"usd": 1})
        (name,) = call["subset_of_score_names"]
        entry = next(entry for entry in self.entries if entry["name"] == name)
        return {
            str(entry["id"]): await getattr(self, f"do_{entry.get('does', 'answer')}")(entry, call)
        }

    async def do_answer(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        cost = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "llm_calls": 1,
                "total_cost": Decimal("0.5"),
                "components": [{"type": "api_call", "provider": None, "model": "m", "usd": 0.5}]}  # fmt: skip
        return Result("Yes", "why", confidence=0.75, cost=cost, trace={"node_results": [{"n": 1}]},
                      text=call["text"])  # fmt: skip

    async def do_tell(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        """Tell what a score of Plexus could see of the process that it is in."""
        item = call["item"]
        seen = {
            "environ": dict(os.environ), "entry": repr(entry), "asked": self.asked, "yaml_only": self.yaml_only,
            "spent": len(self.cost_components), "cloudwatch": type(self.cloudwatch_logger).__name__,
            "tokens": len(tiktoken.get_encoding("x").encode("text")), "modality": call["modality"],
            "item": [item.id, item.externalId, item.attachedFiles, item.metadata], "pid": os.getpid(),
            "cwd": os.listdir("."), "processes": sum(name.isdigit() for name in os.listdir("/proc")),
            "sees": list(filter(os.path.exists, item.attachedFiles)),
        }  # fmt: skip
        return Result("told", json.dumps(seen))

    async def do_result(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        return [Result(**entry["result"])] if entry["result"] else None

    async def do_raise(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        raise {"KeyError": KeyError, "Skipped": SkippedScoreException}[entry["error"]](
            entry["said"]
        )

    async def do_meet(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        """Wait until three scores are here at the same time."""
        here = asyncio.get_running_loop().create_future()
        meeting.append(here)
        if len(meeting) == 3:
            for other in meeting:
                other.set_result(None)
            meeting.clear()
        await here
        return Result("Yes")

    async def do_wait(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        """Wait to be cancelled, and leave a file when that happens."""
        begun(call)
        try:
            await asyncio.sleep(3_600)  # clock: it does so for a test that ends it
        finally:
            logging.info("it was cancelled")

    async def do_hang(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        """Never give the loop back, as a regular expression can."""
        begun(call)
        time.sleep(3_600)  # clock: it does so for a test that ends it

    async def do_crash(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)

    async def do_grow(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        return Result(str(len(bytearray(entry["bytes"]))))

    async def do_thread(self, entry: dict[str, Any], call: dict[str, Any]) -> Any:
        return Result(str(threading.active_count()))


def begun(call: dict[str, Any]) -> None:
    """Log a line, and more so that it is sent at once."""
    for _ in range(64):
        logging.info("begun")
