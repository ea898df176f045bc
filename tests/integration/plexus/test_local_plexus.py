"""The commands of docs/from-upstream.md, "Try it on this machine", as a user types them."""

import html
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plexus_scoring.model.result import result_id_of
from tests.support.aws import require_embedded_aws
from tests.support.stores import key

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "from-upstream.md"


@pytest.fixture
def variables(tmp_path):
    """The local Plexus's file of variables, while it serves."""
    require_embedded_aws()
    file = tmp_path / "plexus.env"
    command = [sys.executable, "-m", "tests.support.plexus_local", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        while not file.is_file():
            assert server.poll() is None, server.stderr.read()
            time.sleep(0.05)
        yield file
        server.terminate()
        assert server.wait() == 0
    assert not file.exists()


def test_the_documented_commands_take_a_job_to_its_end(variables):
    console = DOCUMENT.read_text(encoding="utf-8").split("## Try it on this machine")[1]
    block = re.search(r"```console\n(.*?)```", console, re.DOTALL)[1]
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert "tests.support.plexus_local" in commands[0]
    assert "lambda invoke" in block
    environment = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    script = "\n".join([environment, "set -e", *commands[1:]])
    script = script.replace("plexus.env", shlex.quote(str(variables)))
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = result_id_of(key("job-1", "acme"))
    assert '"disposition": "Ack"' in done.stdout
    answer = next(line for line in done.stdout.splitlines() if line.startswith('{"data"'))
    data = json.loads(answer)["data"]
    assert data["getScoringJob"]["status"] == "COMPLETED"
    keys = [f"scoreresults/{result}/trace.json", f"scoreresults/{result}/log.txt"]
    assert data["getScoreResult"] == {"value": "Yes", "attachments": keys}
    assert all(f"<Key>{key}</Key>" in done.stdout for key in keys)
    assert f'"score_result_id": "{result}"' in html.unescape(done.stdout)
