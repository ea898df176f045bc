"""The documented sequence names targets, stacks, files and outputs that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DEPLOY = README.partition("\n## Deploy\n")[2].partition("\n## ")[0]
PAGE = (ROOT / "docs/deploy.md").read_text()
COMMANDS = "\n".join(re.findall(r"```\w*\n(.*?)```", DEPLOY + PAGE, re.DOTALL))


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = re.findall(r"^make ([a-z -]+?)(?: +#| ARGS| IMAGES|$)", COMMANDS, re.MULTILINE)
    used = {target for line in lines for target in line.split()}
    assert {"synth", "images", "image-sizes", "cost", "cdk", "tf-plan-local"} <= used
    assert used <= targets


def test_every_stack_and_function_exists(assembly):
    deployed = re.findall(r'make cdk ARGS="(?:deploy|destroy) ([^"]+)"', COMMANDS)
    names = {name for words in deployed for name in words.split() if not name.endswith("/*")}
    assert "plexus-scoring-staging-pipeline" in names
    assert names <= set(assembly.templates)
    functions = {
        function["Properties"]["FunctionName"]
        for stage in ("staging", "production")
        for function in assembly[f"plexus-scoring-{stage}"]
        .of_type("AWS::Lambda::Function")
        .values()
    }
    named = set(re.findall(r"--function-name (\S+)", COMMANDS + PAGE))
    assert named
    assert named <= functions


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?<=[ ])(examples/\S+)", COMMANDS))))
def test_every_example_exists(path):
    assert (ROOT / path).is_file()


def test_the_secret_that_is_filled_is_the_stacks(staging):
    secret = staging.one("AWS::SecretsManager::Secret")
    assert f"--secret-id {secret['Name']} " in COMMANDS


def test_the_list_of_what_was_not_exercised_is_where_the_readme_links():
    (anchor,) = re.findall(r"docs/deploy\.md#([a-z-]+)", DEPLOY)
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert anchor in {re.sub(r"\W+", "-", heading.lower()) for heading in headings}
