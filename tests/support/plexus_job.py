"""Scores one text with the engine `plexus`, as one attempt at a job: `python -m tests.support.plexus_job JSON`.

The JSON has source, score, text, job_id, checkpointer (a PostgreSQL URI or null). The outcome is printed as JSON.
SIGTERM cancels the attempt, as a worker that drains does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import msgspec

from plexus_scoring.engines.plexus import PlexusEngine
from plexus_scoring.model.errors import ScoringError
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobKey
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext


async def main(given: dict[str, Any]) -> None:
    os.environ.setdefault("PLEXUS_ACCOUNT_KEY", "default")
    engine = PlexusEngine(checkpointer_uri=given.get("checkpointer"))
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        outcome = await engine.score(
            ScoreContext(
                item=Item(id="item", text=given["text"]),
                scorecard=load_scorecard(given["source"], file="scorecard.yaml"),
                score=given["score"],
                job=JobKey("default", given["job_id"]),
                deadline=time.time() + 300,
            )
        )
        answer: dict[str, Any] = {"outcome": msgspec.to_builtins(outcome)}
    except ScoringError as error:
        answer = {"error": error.code, "message": error.message}
    except asyncio.CancelledError:
        answer = {"error": "cancelled"}
    finally:
        await engine.aclose()
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    # Plexus's libraries take the interpreter seconds to take down, and were once seen to hang in it.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
