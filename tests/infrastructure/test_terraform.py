"""What of the Terraform code can be checked without its provider, which cannot be downloaded everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from plexus_scoring.settings import describe_settings

FOLDER = Path(__file__).resolve().parents[2] / "infrastructure" / "terraform"
CODE = "\n".join(path.read_text() for path in sorted(FOLDER.rglob("*.tf")))


def test_it_is_formatted_and_parses():
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-recursive", str(FOLDER)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_workers_settings_exist():
    known = {setting.name for setting in describe_settings()}
    named = set(re.findall(r'name = "(PLEXUS_\w+)"', CODE))
    assert named
    assert named <= known


def test_secrets_are_no_plain_variables():
    secret = {setting.name for setting in describe_settings() if setting.secret}
    plain = set(re.findall(r'name = "(\w+)", value = ', CODE))
    assert not plain & secret


def test_the_database_is_upgraded_before_the_worker_works():
    assert re.search(r'command\s+= \["db", "upgrade"\]', CODE)
    assert (
        'dependsOn              = [{ containerName = "database", condition = "SUCCESS" }]' in CODE
    )


def test_the_task_is_asked_for_its_health_and_may_tell_what_is_absent():
    assert re.search(r"healthCheck = \{\s+command\s+= \[\"CMD\".*/livez", CODE)
    assert re.search(r'actions\s+= \["s3:ListBucket"\]', CODE)


def test_the_example_names_every_variable_without_a_default():
    example = (FOLDER / "terraform.local.tfvars.example").read_text()
    for name, body in re.findall(
        r'variable "(\w+)" \{(.*?)\n\}', (FOLDER / "variables.tf").read_text(), re.DOTALL
    ):
        if "default" not in body:
            assert re.search(rf"^{name} ", example, re.MULTILINE), name


def test_local_values_stay_out_of_git():
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "infrastructure/terraform/terraform.local.tfvars"],
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.returncode == 0


def test_the_state_is_locked_encrypted_and_versioned():
    assert 'backend "s3"' in CODE
    backend = (FOLDER / "backend" / "main.tf").read_text()
    for part in (
        "aws_dynamodb_table",
        "LockID",
        "aws_s3_bucket_versioning",
        "sse_algorithm",
        "block_public_policy",
    ):
        assert part in backend
    example = (FOLDER / "backend.local.hcl.example").read_text()
    assert "encrypt        = true" in example
    assert "dynamodb_table" in example
