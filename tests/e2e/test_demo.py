"""The demo as a newcomer runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.aws import require_embedded_aws

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_proves_that_nothing_is_lost_or_doubled(tmp_path):
    require_embedded_aws()
    report = tmp_path / "report.html"
    command = [Path(sys.executable).with_name("plexus-scoring"), "demo", "--format", "json"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [*command, "--report", report],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert list(counts) == [
        "submitted",
        "completed",
        "failed",
        "dead_lettered",
        "lost",
        "duplicated",
        "retries",
    ]
    assert counts["completed"] > 100
    assert counts["dead_lettered"] >= 4
    assert counts["retries"] >= 1
    assert counts["lost"] == counts["duplicated"] == 0
    parts = counts["completed"] + counts["failed"] + counts["dead_lettered"]
    assert counts["submitted"] == parts
    assert "Nothing lost, nothing duplicated" in report.read_text(encoding="utf-8")
