"""The producers of examples/, run as a user runs them, against the real worker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.brokers import missing
from tests.support.chaos import PATIENT, ROOT, Chaos, chaos
from tests.support.transport_rigs import eventually

PRODUCERS = ROOT / "examples" / "producers"
TEXT = "Hello, this is Ada from Northwind. How may I help you?"


async def produce(run: Chaos, *command: str, cwd: Path = PRODUCERS) -> str:
    """Run a producer with the worker's environment and the scorecard of the run."""
    environment = run.environment(SCORECARD="chaos", SCORE="s")
    process = await asyncio.create_subprocess_exec(
        *command,
        TEXT,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_rabbitmq_says_when_no_worker_has_made_the_queue() -> None:
    async with chaos("rabbitmq") as run:
        with pytest.raises(AssertionError, match="NO_ROUTE"):
            await produce(run, sys.executable, "rabbitmq_producer.py")


async def test_rabbitmq() -> None:
    async with chaos("rabbitmq") as run:
        worker = await run.start_worker(**PATIENT)
        await run.until(worker.is_ready)
        response = json.loads(await produce(run, sys.executable, "rabbitmq_producer.py"))
        assert response["status"] == "success"
        assert response["value"] in {"Yes", "No"}
        _, metrics = worker.get("/metrics")
        assert "plexus_scoring_queue_age_seconds_count 1.0" in metrics  # the table's row


async def test_sqs() -> None:
    async with chaos("sqs") as run:
        await run.start_worker(**PATIENT)
        request_id = (await produce(run, sys.executable, "sqs_producer.py")).strip()
        (response,) = await eventually(run.rig.responses)
        assert (response["request_id"], response["status"]) == (request_id, "success")


async def test_redis_from_node(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("Node", "https://nodejs.org, or apt-get install -y --no-install-recommends npm")
    modules = os.environ.get(
        "PLEXUS_TEST_NODE_MODULES"
    )  # where they are installed once and for all
    if modules:
        (tmp_path / "node_modules").symlink_to(modules)
    else:
        shutil.copy(PRODUCERS / "package.json", tmp_path)
        command = [str(npm), "install", "--silent", "--no-audit", "--no-fund", "--no-save"]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            if os.environ.get("CI") == "true":
                pytest.fail(f"npm install: {done.stderr[-500:]}")
            pytest.skip("npm cannot install bullmq: no network?")
    shutil.copy(PRODUCERS / "redis-producer.mjs", tmp_path)
    async with chaos("redis") as run:
        await run.start_worker(**PATIENT)
        output = await produce(run, str(node), "redis-producer.mjs", cwd=tmp_path)
        response = json.loads(output)
        assert response["status"] == "success"
        assert response["value"] in {"Yes", "No"}
