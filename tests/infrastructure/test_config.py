"""What cannot be deployed is refused with one line, before AWS sees it."""

import dataclasses
import json
import re

import pytest

from infrastructure import functions
from infrastructure.config.errors import ConfigError
from infrastructure.config.model import (
    API_COMMAND,
    AlarmConfig,
    ApiConfig,
    DeliveryConfig,
    EventSourceConfig,
    FunctionConfig,
    TaskConfig,
)
from infrastructure.config.stages import STAGES, stage
from tests.support.cdk import require_cdk

CONNECTION = "arn:aws:codeconnections:us-east-1:111122223333:connection/0a-1b"


def test_both_stages_can_be_deployed():
    assert set(STAGES) == {"staging", "production"}
    for name in STAGES:
        stage(name)


def test_an_api_that_the_program_does_not_have_is_refused():
    api = ApiConfig(certificate_arn="arn:aws:acm:us-east-1:111122223333:certificate/c")
    config = dataclasses.replace(STAGES["staging"], api=api)
    if API_COMMAND.is_file():
        config.check()
        return
    with pytest.raises(ConfigError, match=r"api cannot be deployed: .* has no command `api`"):
        config.check()


def test_an_unknown_stage_names_the_known_ones():
    with pytest.raises(ConfigError, match="unknown stage 'prod': stages are production, staging"):
        stage("prod")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scoring": FunctionConfig(memory_mb=127, timeout_seconds=300)},
            "scoring.memory_mb is 127",
        ),
        (
            {"scoring": FunctionConfig(memory_mb=10_241, timeout_seconds=300)},
            "must be 128 to 10240",
        ),
        ({"scoring": FunctionConfig(memory_mb=512, timeout_seconds=901)}, "must be 1 to 900 s"),
        (
            {"sweeper": FunctionConfig(memory_mb=512, timeout_seconds=0)},
            "sweeper.timeout_seconds is 0",
        ),
        (
            {"events": EventSourceConfig(max_concurrency=1)},
            "events.max_concurrency is 1: must be 2 to 1000",
        ),
        ({"events": EventSourceConfig(max_concurrency=1001)}, "must be 2 to 1000"),
        ({"events": EventSourceConfig(batch_size=10_001, window_seconds=1)}, "must be 1 to 10000"),
        (
            {"events": EventSourceConfig(batch_size=11)},
            "needs stage 'staging': events.window_seconds",
        ),
        ({"events": EventSourceConfig(window_seconds=301)}, "must be 0 to 300 s"),
        ({"max_receive_count": 4}, "max_receive_count is 4: must be 5"),
        ({"sweep_every_minutes": 0}, "sweep_every_minutes is 0"),
        ({"log_retention_days": 31}, "log_retention_days is 31: must be one of"),
        ({"deployment": "yolo"}, "deployment is 'yolo': must be one of all_at_once"),
        ({"account": "1"}, "set account and region both"),
        ({"account": "1", "region": "us-east-1"}, "account must be 12 digits"),
        ({"name": "Staging!"}, "name must be"),
        ({"branch": ""}, "branch is empty"),
        ({"secret_arn": "plexus/staging/config"}, "secret_arn must be"),
        ({"item_buckets": ("*",)}, "is no bucket's name"),
        ({"worker": TaskConfig(cpu=100)}, "worker.cpu is 100"),
        ({"worker": TaskConfig(cpu=256, memory_mib=4096)}, "with cpu 256 it must be 512 to 2048"),
        ({"worker": TaskConfig(least_tasks=3, most_tasks=2)}, "least_tasks is 3"),
        ({"api": ApiConfig(certificate_arn="my-cert")}, "certificate_arn is not the ARN"),
        ({"attachments_expire_days": 0}, "attachments_expire_days is 0"),
        ({"bedrock_models": ("*",)}, "bedrock_models: '*' is no model's id"),
        ({"secret_key_arn": "alias/ours"}, "secret_key_arn must be a KMS key's full ARN"),
        (
            {"secret_key_arn": "arn:aws:kms:us-east-1:111122223333:key/0a1b"},
            "secret_key_arn without secret_arn",
        ),
        ({"alarms": AlarmConfig()}, "alarms: nobody would be called: set email or topic_arn"),
        ({"alarms": AlarmConfig(email="nobody")}, "alarms.email is 'nobody': must be an e-mail"),
    ],
)
def test_values_out_of_limits_are_refused_in_one_line(change, message):
    config = dataclasses.replace(STAGES["staging"], **change)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        config.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"connection_arn": ""}, "connection ARN is missing or malformed"),
        ({"connection_arn": "arn:aws:iam::111122223333:role/x"}, "connection ARN is missing"),
        ({"repository": "plexus"}, "repository is 'plexus'"),
        ({"commit": "main"}, "commit is 'main'"),
    ],
)
def test_the_delivery_needs_a_repository_a_connection_and_a_commit(change, message):
    good = DeliveryConfig(repository="o/n", connection_arn=CONNECTION, commit="a" * 40)
    good.check()
    with pytest.raises(ConfigError, match=re.escape(message)):
        dataclasses.replace(good, **change).check()


def add_functions(folder, *names, handler=True):
    for name in names:
        (folder / name).mkdir(parents=True)
        if handler:
            (folder / name / "handler.py").write_text("")


def test_a_new_folder_is_a_new_function(tmp_path):
    add_functions(tmp_path, "score_processing", "sweeper", "export")
    (tmp_path / "__pycache__").mkdir()
    assert functions.discover(tmp_path) == ("export", "score_processing", "sweeper")


def test_a_folder_without_handler_is_refused(tmp_path):
    add_functions(tmp_path, "score_processing", "sweeper")
    add_functions(tmp_path, "export", handler=False)
    with pytest.raises(ConfigError, match=r"lambda_functions/export has no handler\.py"):
        functions.discover(tmp_path)


def test_the_service_needs_both_of_its_functions(tmp_path):
    add_functions(tmp_path, "sweeper")
    with pytest.raises(ConfigError, match="lacks score_processing"):
        functions.discover(tmp_path)


def test_names_that_repositories_cannot_have_are_refused(tmp_path):
    add_functions(tmp_path, "Score-Processing")
    with pytest.raises(ConfigError, match="a function's name is"):
        functions.discover(tmp_path)


def test_repositories_keep_upstreams_names():
    assert functions.repository_name("score_processing") == "plexus/lambda-score-processing"
    assert functions.BASE_REPOSITORY == "plexus/lambda-base"


def test_the_examples_work_without_aws_and_not_with_it(monkeypatch, capsys):
    require_cdk()
    from infrastructure import app

    context = json.loads((functions.ROOT / "cdk.json").read_text())["context"]
    assert app.EXAMPLE_ACCOUNT in context["connection_arn"]
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", "111122223333")
    assert app.main() == 2
    # jsii may print a warning about the Node version before it.
    assert capsys.readouterr().err.endswith(
        "error: stage 'production': alarms.email is still the example: put the address of whoever is on call into "
        "infrastructure/config/stages.py\n"
    )
    monkeypatch.setattr(app, "EXAMPLE_EMAIL", "nobody@example.com")
    assert app.main() == 2
    assert capsys.readouterr().err.endswith(
        "error: connection ARN is still the example: create a CodeConnections connection to GitHub and set "
        "context `connection_arn` in cdk.json to its ARN\n"
    )
