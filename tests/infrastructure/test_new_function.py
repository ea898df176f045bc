"""A new function, from the command to its resources, in a copy of the checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.config.errors import ConfigError
from infrastructure.config.model import FunctionConfig
from infrastructure.functions import discover
from tests.support.cdk import Assembly, require_cdk

ROOT = Path(__file__).resolve().parents[2]
CLI = "from plexus_scoring.cli import main; main()"


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for folder in ("src", "lambda_functions", "infrastructure"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("cdk.json", "pyproject.toml"):
        shutil.copy(ROOT / file, root)
    return root


def run(checkout, *command, **variables):
    environment = {name: text for name, text in os.environ.items() if "PLEXUS" not in name}
    environment |= {"PYTHONPATH": f"{checkout / 'src'}:{checkout}", **variables}
    return subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def synthesise(checkout):
    context = json.dumps({"commit": "a" * 40, "stages": "staging"})
    return run(checkout, "-m", "infrastructure.app", CDK_CONTEXT_JSON=context, CDK_OUTDIR="out")


def test_a_new_function_passes_its_test_and_is_in_the_stack(checkout):
    require_cdk()
    made = run(checkout, "-c", CLI, "new-function", "nightly_report", "--summary", 'Says "hello"')
    assert made.returncode == 0, made.stderr
    assert "wrote  lambda_functions/nightly_report/handler.py" in made.stdout

    own = run(checkout, "-m", "pytest", "-q", "tests/integration/functions")
    assert own.returncode == 0, own.stdout
    assert "1 passed" in own.stdout

    done = synthesise(checkout)
    assert done.returncode == 0, done.stderr
    assembly = Assembly(checkout / "out")
    name = "plexus-scoring-staging-nightly-report"
    function = assembly["plexus-scoring-staging"].one("AWS::Lambda::Function", FunctionName=name)
    assert (function["MemorySize"], function["Timeout"]) == (1024, 60)
    repositories = assembly["plexus-scoring-repositories"].of_type("AWS::ECR::Repository")
    assert "plexus/lambda-nightly-report" in {
        repository["Properties"]["RepositoryName"] for repository in repositories.values()
    }

    linted = [
        subprocess.run(
            [str(Path(sys.executable).with_name("ruff")), *check, "--config", "pyproject.toml",
             "lambda_functions/nightly_report", "tests/integration/functions", "infrastructure/config/functions.py"],
            cwd=checkout, capture_output=True, text=True, check=False,
        )
        for check in (["check"], ["format", "--check"])
    ]  # fmt: skip
    assert [(each.returncode, each.stdout) for each in linted if each.returncode] == []

    again = run(checkout, "-c", CLI, "new-function", "nightly_report")
    assert again.returncode == 2
    assert (
        again.stderr
        == "lambda_functions/nightly_report: the function nightly_report is there already\n"
    )


def test_a_folder_without_a_handler_is_refused(checkout):
    (checkout / "lambda_functions/half_done").mkdir()
    with pytest.raises(ConfigError, match=r"lambda_functions/half_done has no handler.py: add one"):
        discover(checkout / "lambda_functions")


def test_an_entry_without_a_folder_is_refused(monkeypatch, tmp_path):
    require_cdk()
    from infrastructure import app

    sizes = {"gone": FunctionConfig(memory_mb=1024, timeout_seconds=60)}
    monkeypatch.setattr(app, "OTHER_FUNCTIONS", sizes)
    with pytest.raises(ConfigError, match=r"functions.py: 'gone' is no folder"):
        app.build(outdir=str(tmp_path), context={"stages": "staging", "commit": "a" * 40})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Nightly"], "'Nightly': a function's name is 1 to 40 of a-z, 0-9 and _"),
        (["../evil"], "a function's name is"),
        (["sweeper"], "the function sweeper is there already"),
        (["new", "--directory", "src"], "is no checkout of plexus-scoring: give --directory"),
    ],
)
def test_what_cannot_be_a_new_function_is_refused(checkout, arguments, message):
    done = run(checkout, "-c", CLI, "new-function", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
