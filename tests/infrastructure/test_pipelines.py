"""What each push goes through before it is deployed, and what the pipelines may do."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"staging": "staging", "production": "main"}


def pipeline(assembly, stage):
    return assembly[f"plexus-scoring-{stage}-pipeline"].one("AWS::CodePipeline::Pipeline")


def action_names(definition, stage):
    (found,) = [part for part in definition["Stages"] if part["Name"] == stage]
    return [action["Name"] for action in sorted(found["Actions"], key=lambda a: a["RunOrder"])]


def build_commands(template):
    """Return project → its commands."""
    commands = {}
    for name, project in template.of_type("AWS::CodeBuild::Project").items():
        text = json.dumps(project["Properties"]["Source"]["BuildSpec"])
        commands[name] = text
    return commands


def test_both_pipelines_and_both_stages_are_synthesised_without_aws(assembly):
    assert {
        "plexus-scoring-staging",
        "plexus-scoring-production",
        "plexus-scoring-staging-pipeline",
        "plexus-scoring-production-pipeline",
        "plexus-scoring-repositories",
        "plexus-scoring-github",
    } <= set(assembly.templates)


@pytest.mark.parametrize(("stage", "branch"), STAGES.items())
def test_a_push_to_the_branch_starts_the_pipeline(assembly, stage, branch):
    definition = pipeline(assembly, stage)
    source = definition["Stages"][0]["Actions"][0]
    assert source["ActionTypeId"]["Provider"] == "CodeStarSourceConnection"
    assert source["Configuration"]["BranchName"] == branch
    assert source["Configuration"]["ConnectionArn"].startswith("arn:aws:codeconnections:")


@pytest.mark.parametrize("stage", STAGES)
def test_pushes_wait_for_each_other(assembly, stage):
    definition = pipeline(assembly, stage)
    assert (definition["PipelineType"], definition["ExecutionMode"]) == ("V2", "QUEUED")


def test_checks_come_before_images_and_images_before_the_deployment(assembly):
    assert [part["Name"] for part in pipeline(assembly, "staging")["Stages"]] == [
        "Source",
        "Build",
        "UpdatePipeline",
        "Deploy",
    ]
    assert action_names(pipeline(assembly, "staging"), "Deploy") == [
        "Checks",
        "BaseImage",
        "Images",
        "plexus-scoring-staging.Prepare",
        "plexus-scoring-staging.Deploy",
        "SmokeTest",
    ]


def test_a_person_releases_production(assembly):
    names = action_names(pipeline(assembly, "production"), "Deploy")
    assert (
        names.index("Images")
        < names.index("Release")
        < names.index("plexus-scoring-production.Prepare")
    )


def test_no_two_steps_run_at_once(assembly):
    for stage in STAGES:
        for part in pipeline(assembly, stage)["Stages"]:
            orders = [action["RunOrder"] for action in part["Actions"]]
            assert len(set(orders)) == len(orders)


def test_checks_are_the_projects_own(assembly):
    commands = build_commands(assembly["plexus-scoring-staging-pipeline"])
    (checks,) = [text for name, text in commands.items() if "Checks" in name]
    assert "make test-in-container" in checks
    makefile = (ROOT / "Makefile").read_text()
    assert ".ci/run" in makefile.partition("\ntest-in-container:")[2].partition("\n\n")[0]


def test_only_steps_that_run_containers_are_privileged(assembly):
    template = assembly["plexus-scoring-production-pipeline"]
    privileged = {
        part
        for name, project in template.of_type("AWS::CodeBuild::Project").items()
        for part in ("Synth", "Checks", "BaseImage", "Images", "SmokeTest", "SelfMutate")
        if project["Properties"]["Environment"]["PrivilegedMode"] and part in name
    }
    assert privileged == {"Checks", "BaseImage", "Images"}


def test_every_deployment_uses_one_version_of_the_cdks_command(assembly):
    from infrastructure.pipelines.delivery import CDK_CLI_VERSION

    makefile = (ROOT / "Makefile").read_text()
    (pinned,) = re.findall(r"^CDK_CLI := (\S+)$", makefile, re.MULTILINE)
    assert pinned == CDK_CLI_VERSION
    assert f"aws-cdk@{pinned}" in json.dumps(assembly["plexus-scoring-staging-pipeline"])
    named = re.findall(r"aws-cdk@(\d+\.\S+?)[\s`]", (ROOT / "docs/deploy.md").read_text())
    assert set(named) <= {pinned}


def test_nothing_is_deployed_by_a_moving_tag(assembly):
    for stage in STAGES:
        template = assembly[f"plexus-scoring-{stage}-pipeline"]
        assert ":latest" not in json.dumps(build_commands(template))


@pytest.mark.parametrize("stage", STAGES)
def test_a_pipeline_deploys_the_very_template_that_a_command_would(assembly, stage):
    """One that names a resource otherwise would replace it, or make it twice, when the way of deploying changes."""
    (piped,) = assembly.folder.glob(f"assembly-*-{stage}-pipeline-Deploy/*.template.json")
    (direct,) = assembly.folder.glob(f"assembly-{stage}/*.template.json")
    assert piped.read_bytes() == direct.read_bytes()


def statements_of(template, part):
    for name, policy in template.of_type("AWS::IAM::Policy").items():
        if part in name:
            yield from policy["Properties"]["PolicyDocument"]["Statement"]


def test_only_image_steps_push_and_only_to_their_repositories(assembly):
    template = assembly["plexus-scoring-staging-pipeline"]
    pushing = [
        statement for statement in template.statements() if "ecr:PutImage" in statement["Action"]
    ]
    named = {json.dumps(s["Resource"]).partition("repository/")[2] for s in pushing}
    assert len(pushing) == 2
    assert all(name for name in named)
    assert not list(
        filter(lambda s: "ecr:PutImage" in s["Action"], statements_of(template, "Checks"))
    )


# --- Repositories ---


def test_repositories_scan_and_never_move_a_deployed_tag(assembly):
    template = assembly["plexus-scoring-repositories"]
    repositories = {
        r["Properties"]["RepositoryName"]: r["Properties"]
        for r in template.of_type("AWS::ECR::Repository").values()
    }
    assert set(repositories) == {
        "plexus/lambda-base",
        "plexus/lambda-score-processing",
        "plexus/lambda-sweeper",
        "plexus/scoring-worker",
    }
    for repository in repositories.values():
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert repository["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        (exclusion,) = repository["ImageTagMutabilityExclusionFilters"]
        assert exclusion["ImageTagMutabilityExclusionFilterValue"] == "cache*"
        assert "countNumber" in repository["LifecyclePolicy"]["LifecyclePolicyText"]


# --- GitHub Actions ---


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_stages_environment_can_assume_its_role(assembly, stage):
    template = assembly["plexus-scoring-github"]
    role = template.one("AWS::IAM::Role", RoleName=f"plexus-scoring-{stage}-github")
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    condition = trust["Condition"]["StringEquals"]
    assert condition["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
    assert condition["token.actions.githubusercontent.com:sub"].endswith(f":environment:{stage}")
    assert "StringLike" not in trust["Condition"]


def test_github_deploys_through_the_bootstraps_roles_only(assembly):
    template = assembly["plexus-scoring-github"]
    for statement in template.statements():
        if statement["Action"] == "sts:AssumeRole":
            assert "role/cdk-hnb659fds-" in json.dumps(statement["Resource"])
        else:
            assert "iam:" not in json.dumps(statement["Action"])


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_may_only_read(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_github_checks_before_it_deploys_and_only_the_deployment_gets_credentials():
    jobs = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
    assert jobs["deploy"]["needs"] == "check"
    assert jobs["check"]["steps"][-1]["run"] == "make test-in-container"
    assert "permissions" not in jobs["check"]
    assert jobs["deploy"]["permissions"]["id-token"] == "write"
