"""Runs recorded cases on the engine `plexus`.

    PLEXUS_PYTHON=INTERPRETER python -m tests.support.plexus_cases CASE... > answers.jsonl

One line for each case: its name and the outcome, or the error's code and message.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from plexus_scoring.engines.plexus.build import build_plexus_engine
from plexus_scoring.engines.plexus.engine import PlexusEngine
from plexus_scoring.model.errors import ScoringError
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings
from tests.support.chat_server import Script, ScriptedChatServer
from tests.support.plexus_hosts import descendants


async def run(case: Path, engine: PlexusEngine, server: ScriptedChatServer) -> dict[str, Any]:
    given = json.loads((case / "input.json").read_text(encoding="utf-8"))
    source = (case / "scorecard.yaml").read_text(encoding="utf-8")
    rules = json.loads((case / "replies.json").read_text(encoding="utf-8"))
    server.script = Script(rules["rules"] if isinstance(rules, dict) else rules)
    server.requests.clear()
    began = time.perf_counter()
    try:
        outcome = await engine.score(
            ScoreContext(
                item=Item(id="item", text=given["text"], metadata=given["metadata"]),
                # A text that is the case's own: versions are hashes, and cases may share a scorecard.
                scorecard=load_scorecard(f"# {case.name}\n{source}", file="scorecard.yaml"),
                score=given["score"],
                deadline=time.time() + 300,
            )
        )
    except ScoringError as error:
        answer: dict[str, Any] = {"error": error.code, "message": error.message}
    else:
        answer = {"outcome": msgspec.to_builtins(outcome)}
    return {
        "case": case.name,
        **answer,
        "requests": [request.as_case() for request in server.requests],
        "seconds": time.perf_counter() - began,
        "threads": threads((await engine.load()).pid),
    }


def threads(pid: int) -> int:
    """Return how many threads a process and those that it started have."""
    return sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in (pid, *descendants(pid)))


async def main(cases: list[Path]) -> None:
    with ScriptedChatServer() as server:
        addresses = server.environment() | {"OPENAI_API_BASE": server.base_url}
        engine = build_plexus_engine(
            Settings.from_environment(), {"PLEXUS_ACCOUNT_KEY": "default", **addresses}
        )
        try:
            for case in cases:
                print(json.dumps(await run(case, engine, server)), flush=True)  # noqa: T201
        finally:
            await engine.aclose()


if __name__ == "__main__":
    asyncio.run(main([Path(name) for name in sys.argv[1:]]))
