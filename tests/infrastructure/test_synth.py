"""The synthesis itself: repeatable to the byte, clean for the linters, clear when refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.config.errors import ConfigError
from tests.support.cdk import require_cdk, synthesise

ROOT = Path(__file__).resolve().parents[2]


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_syntheses_differ_in_no_byte(assembly, tmp_path):
    first, second = files(assembly.folder), files(synthesise(tmp_path).folder)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert not [name for name in first if str(ROOT).encode() in first[name]]


def test_security_rules_find_nothing_unexplained(assembly):
    report = json.loads((assembly.folder / "validation-report.json").read_text())
    # An error would already have stopped the synthesis; a warning would not.
    for plugin in report["pluginReports"]:
        assert plugin.get("violations", []) == []


def test_each_exception_says_why():
    reasons = []
    for path in sorted((ROOT / "infrastructure").rglob("*.py")):
        calls = re.findall(r"nag\.acknowledge\(\s*\w+(?:\.\w+)*,\s*\"([^\"]+)\"", path.read_text())
        reasons += calls
    assert len(reasons) >= 8
    assert all(len(reason) > 30 for reason in reasons)


def test_the_cloudformation_linter_finds_nothing(assembly):
    # A stage's template is there twice, the same to the byte: also as its pipeline deploys it.
    unlike = {path.read_bytes(): str(path) for path in assembly.folder.rglob("*.template.json")}
    templates = sorted(unlike.values())
    linter = str(Path(sys.executable).with_name("cfn-lint"))
    done = subprocess.run(
        # W3005, E3703: style of what the CDK writes (a dependency named twice, Join where Sub would do).
        [linter, "--ignore-checks", "W3005", "E3703", "--template", *templates],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"stages": "prod"}, "unknown stage 'prod': stages are production, staging"),
        ({"connection_arn": "", "stages": "staging"}, "connection ARN is missing or malformed"),
        ({"commit": "HEAD"}, "commit is 'HEAD': must be 40 hexadecimal digits"),
    ],
)
def test_bad_configuration_is_refused(context, message, tmp_path):
    require_cdk()
    from infrastructure import app

    with pytest.raises(ConfigError) as refused:
        app.build(outdir=str(tmp_path), context=context)
    assert str(refused.value).startswith(message)


def test_bad_configuration_stops_the_synthesis_with_one_line(tmp_path):
    require_cdk()
    environment = {
        **os.environ,
        "CDK_CONTEXT_JSON": json.dumps({"stages": "prod"}),
        "CDK_OUTDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "infrastructure.app"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("b'!!")]
    assert done.returncode == 2
    assert errors == ["error: unknown stage 'prod': stages are production, staging"]


def test_the_synthesis_lists_what_would_be_made(assembly):
    from aws_cdk.cx_api import CloudAssembly

    from infrastructure.app import resources

    listed = resources(CloudAssembly(str(assembly.folder)).stacks_recursively).splitlines()
    assert (
        len(listed) == 8
    )  # repositories, GitHub's access, two pipelines; each stage, also as its pipeline has it
    assert "plexus-scoring-repositories: 4 resources: 4 ECR::Repository" in listed
