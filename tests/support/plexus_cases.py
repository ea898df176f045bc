"""Runs recorded cases on the engine `plexus`, in the environment that Plexus is installed in.

    python -m tests.support.plexus_cases CASE... > answers.jsonl

One line for each case: its name and the outcome, or the error's code and message. Nothing but the engine's own
dependencies is imported, so that the environment needs no more than Plexus and msgspec.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from plexus_scoring.engines.plexus import PlexusEngine
from plexus_scoring.model.errors import ScoringError
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from tests.support.chat_server import ScriptedChatServer


async def run(case: Path, engine: PlexusEngine) -> dict[str, Any]:
    given = json.loads((case / "input.json").read_text(encoding="utf-8"))
    source = (case / "scorecard.yaml").read_text(encoding="utf-8")
    with ScriptedChatServer(
        json.loads((case / "replies.json").read_text(encoding="utf-8"))
    ) as server:
        # The package's clients read their address when a score is made, so one engine serves all cases.
        os.environ |= server.environment() | {"OPENAI_API_BASE": server.base_url}
        began = time.perf_counter()
        try:
            outcome = await engine.score(
                ScoreContext(
                    item=Item(id="item", text=given["text"], metadata=given["metadata"]),
                    # A file's name that is the case's: versions are hashes, and cases may share a text.
                    scorecard=load_scorecard(f"# {case.name}\n{source}", file="scorecard.yaml"),
                    score=given["score"],
                    deadline=time.time() + 300,
                )
            )
        except ScoringError as error:
            answer: dict[str, Any] = {"error": error.code, "message": error.message}
        else:
            answer = {"outcome": msgspec.to_builtins(outcome)}
        seconds = time.perf_counter() - began
        requests = [request.as_case() for request in server.requests]
    return {
        "case": case.name,
        **answer,
        "requests": requests,
        "seconds": seconds,
        "threads": threading.active_count(),
    }


async def main(cases: list[Path]) -> None:
    os.environ.setdefault("PLEXUS_ACCOUNT_KEY", "default")
    out = os.fdopen(os.dup(1), "w")
    engine = PlexusEngine()
    try:
        for case in cases:
            print(json.dumps(await run(case, engine)), file=out, flush=True)
    finally:
        await engine.aclose()


if __name__ == "__main__":
    asyncio.run(main([Path(name) for name in sys.argv[1:]]))
