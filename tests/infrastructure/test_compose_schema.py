"""docker/compose.yaml against the Compose Specification's own schema."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.support import images

FILE = Path(__file__).parents[2] / "docker" / "compose.yaml"


def check(path):
    if importlib.util.find_spec("check_jsonschema") is None:
        images.missing("check-jsonschema is not installed: make setup-infra")
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )


def test_the_file_is_what_the_specification_says():
    done = check(FILE)
    assert done.returncode == 0, done.stdout


def test_a_misspelt_key_is_found(tmp_path):
    broken = tmp_path / "compose.yaml"
    broken.write_text(FILE.read_text().replace("stop_grace_period", "stop_grace_periods"))
    assert check(broken).returncode == 1
