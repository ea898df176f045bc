"""What takes long, once for all tests: the synthesised app and the built images."""

import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pytest

from tests.support import images
from tests.support.cdk import COMMIT, FUNCTIONS, Assembly, require_cdk, synthesise

HANG_SECONDS = 3_600


def pytest_collection_modifyitems(items):
    """The test that comes first pays for a synthesis or the images; a limit within one breaks jsii for all."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(HANG_SECONDS))


@pytest.fixture(scope="session")
def assembly(tmp_path_factory):
    """Both stages and both pipelines, synthesised once for all processes of a test run."""
    require_cdk()
    mine = tmp_path_factory.getbasetemp()
    run = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    done = run / "cdk.out"
    with (run / "cdk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            unfinished = run / "cdk.unfinished"
            synthesise(unfinished)
            unfinished.rename(done)
    return Assembly(done)


@pytest.fixture(scope="session")
def staging(assembly):
    return assembly["plexus-scoring-staging"]


@pytest.fixture(scope="session")
def production(assembly):
    return assembly["plexus-scoring-production"]


@pytest.fixture(scope="session")
def synthesise_stage(tmp_path_factory):
    """Synthesises one stage's application by itself, under the security rules."""
    require_cdk()
    from aws_cdk import App, Validations
    from cdk_nag import AwsSolutionsChecks

    from infrastructure.app import ROOT
    from infrastructure.stacks.application import ApplicationStack

    def synthesise_one(config):
        folder = tmp_path_factory.mktemp("stage")
        context = json.loads((ROOT / "cdk.json").read_text())["context"]
        app = App(outdir=str(folder), context=context)
        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        ApplicationStack(app, "stage", config=config, commit=COMMIT, functions=FUNCTIONS)
        app.synth()
        return Assembly(folder)["stage"]

    return synthesise_one


@pytest.fixture(scope="session")
def full(synthesise_stage):
    """A production stage with every optional part."""
    from infrastructure.app import ROOT
    from infrastructure.config import model
    from infrastructure.config.model import AlarmConfig, ApiConfig, TaskConfig
    from infrastructure.config.stages import STAGES

    config = dataclasses.replace(
        STAGES["production"],
        worker=TaskConfig(),
        api=ApiConfig(certificate_arn="arn:aws:acm:us-east-1:111122223333:certificate/c"),
        item_buckets=("transcripts-of-calls",),
        secret_arn="arn:aws:secretsmanager:us-east-1:111122223333:secret:ours-aB12cD",
        secret_key_arn="arn:aws:kms:us-east-1:111122223333:key/0a1b-2c",
        bedrock_models=("anthropic.claude-v2", "eu.anthropic.claude-sonnet-4-20250514-v1:0"),
        alarms=AlarmConfig(topic_arn="arn:aws:sns:us-east-1:111122223333:on-call"),
        account="111122223333",
        region="us-east-1",
    )
    # The program has no API yet; the stack for it is checked all the same.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(model, "API_COMMAND", ROOT / "pyproject.toml")
        return synthesise_stage(config)


@pytest.fixture(scope="session")
def stand_in():
    images.require_engine()
    return images.stand_in()


@pytest.fixture(scope="session")
def base(stand_in):
    name = "localhost/plexus/lambda-base:slim"
    arguments = {"BUILD_IMAGE": stand_in, "RUNTIME_IMAGE": stand_in, "PYTHON_VERSION": "3.11"}
    images.build("docker/Dockerfile.base", name, target="base-slim", **arguments)
    return name


@pytest.fixture(scope="session")
def function(base):
    name = "localhost/plexus/lambda-score-processing:test"
    images.build("docker/Dockerfile.fn", name, BASE_IMAGE=base, FUNCTION="score_processing")
    return name


@pytest.fixture(scope="session")
def base_with_plexus(stand_in):
    """The base with the real lock and a stand-in for Plexus's repository."""
    name = "localhost/plexus/lambda-base:full"
    arguments = {"BUILD_IMAGE": stand_in, "RUNTIME_IMAGE": stand_in, "PYTHON_VERSION": "3.11"}
    contexts = {"plexus-src": images.ROOT / "tests/support/stand_in_plexus"}
    images.build("docker/Dockerfile.base", name, target="base", contexts=contexts, **arguments)
    return name


@pytest.fixture(scope="session")
def function_with_plexus(base_with_plexus):
    name = "localhost/plexus/lambda-score-processing:full"
    arguments = {"BASE_IMAGE": base_with_plexus, "FUNCTION": "score_processing"}
    images.build("docker/Dockerfile.fn", name, **arguments)
    return name


@pytest.fixture(scope="session")
def worker(stand_in):
    name = "localhost/plexus/scoring-worker:test"
    images.build("docker/Dockerfile.worker", name, PYTHON_IMAGE=stand_in)
    return name
