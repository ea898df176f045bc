"""The Dockerfiles, built for real on stand-in bases, and the images run as they are deployed."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from plexus_scoring import bootstrap
from plexus_scoring.local.function import Invocation
from plexus_scoring.local.runtime_api import RuntimeApi
from plexus_scoring.local.stack import LocalDeployment, StackOptions
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.settings import Settings
from tests.support import images
from tests.support.aws import require_embedded_aws, unique_name
from tests.support.clock import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        images.missing("hadolint is not installed: make setup-infra")
    files = sorted(map(str, (ROOT / "docker").glob("Dockerfile.*")))
    done = subprocess.run([linter, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_build_context_is_small():
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    total = 0
    for pattern in patterns:
        for path in ROOT.glob(pattern[1:]):
            found = path.rglob("*") if path.is_dir() else [path]
            total += sum(
                one.stat().st_size
                for one in found
                if one.is_file()
                and "__pycache__" not in one.parts
                and one.suffix not in {".pyc", ".whl"}
            )
    assert total < 4 * MEGABYTE


# --- Functions ---


def test_what_the_function_adds_is_within_its_budget(stand_in, base, function):
    added = images.size(function) - images.size(stand_in)
    assert added < 150 * MEGABYTE
    assert images.size(function) - images.size(base) < MEGABYTE


def test_a_new_handler_rebuilds_one_layer(base, function):
    images.build(
        "docker/Dockerfile.fn",
        "localhost/plexus/lambda-sweeper:test",
        BASE_IMAGE=base,
        FUNCTION="sweeper",
    )
    first, second = images.layers(function), images.layers("localhost/plexus/lambda-sweeper:test")
    assert (
        first[: len(images.layers(base))]
        == second[: len(images.layers(base))]
        == images.layers(base)
    )
    assert len(first) == len(images.layers(base)) + 1


def test_the_image_lists_what_is_in_it(base):
    listed = json.loads(
        images.inside(base, "/opt/python/sbom.cdx.json", entrypoint="/bin/cat").stdout
    )
    assert listed["bomFormat"] == "CycloneDX"
    names = {component["name"].lower() for component in listed["components"]}
    assert {"boto3", "awslambdaric", "msgspec"} <= names
    labels = images.inspect(base)["Config"]["Labels"]
    assert {f"org.opencontainers.image.{name}" for name in ("title", "source", "revision")} <= set(
        labels
    )


def test_a_runtime_too_old_for_its_wheels_stops_the_build_with_one_line(stand_in, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nos.confstr = lambda _: 'glibc 2.26'\n")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {stand_in}\nCOPY sitecustomize.py /usr/lib/python3.11/sitecustomize.py\n"
    )
    old = "localhost/plexus-standin:glibc-2.26"
    images.build(str(tmp_path / "Dockerfile"), old, folder=tmp_path)
    done = images.build(
        "docker/Dockerfile.base",
        "localhost/plexus/never",
        target="base-slim",
        check=False,
        BUILD_IMAGE=stand_in,
        RUNTIME_IMAGE=old,
        PYTHON_VERSION="3.11",
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "error: this runtime image has" in line]
    assert "glibc 2.26, but " in line
    assert "rapidfuzz" in line


def test_a_build_image_without_the_python_is_refused_with_one_line(stand_in):
    done = images.build(
        "docker/Dockerfile.base",
        "localhost/plexus/never",
        target="base-slim",
        check=False,
        BUILD_IMAGE=stand_in,
        RUNTIME_IMAGE=stand_in,
        PYTHON_VERSION="3.13",
    )
    assert done.returncode != 0
    assert "the build image has no Python 3.13" in done.stderr


@pytest.fixture
async def application(tmp_path, monkeypatch):
    """A local deployment whose queue nobody polls yet, and the service's own parts on it."""
    require_embedded_aws()
    options = StackOptions(poll=False, environment={"SCORECARD_CACHE_DIR": "/tmp/scorecards"})
    with LocalDeployment(tmp_path, options) as deployment:
        for name, value in deployment.environment().items():
            monkeypatch.setenv(name, value)
        application = bootstrap.build(Settings.from_environment())
        yield deployment, application
        await application.aclose()


@contextlib.asynccontextmanager
async def running(image, address, environment):
    """Run a function image as Lambda does: read-only but for /tmp, no root, bounded memory."""
    variables = {
        **environment,
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "scoring",
    }
    variables |= {"AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
    name = unique_name("function")
    process = await asyncio.create_subprocess_exec(
        *images.PODMAN_RUN, "--name", name, "--read-only", "--memory", "512m", "--user", "993:990", "--tmpfs", "/tmp",
        *(part for key, value in variables.items() for part in ("--env", f"{key}={value}")), image,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        # The runtime client is process 1 and ignores SIGTERM while it waits for the next event.
        await asyncio.to_thread(
            images.run, "podman", "rm", "--force", "--time", "0", name, check=False
        )
        await process.communicate()


async def test_the_function_scores_a_job_read_only_and_without_root(function, application):
    deployment, parts = application
    text = (ROOT / "examples/scorecards/call-centre-quality.yaml").read_text()
    await parts.catalog.put_scorecard(load_scorecard(text))
    item = json.loads((ROOT / "examples/items/call-billing-dispute.json").read_text())
    body = {
        "request_id": "image-1",
        "scorecard": "call-centre-quality",
        "score": "Greeting",
        "item": item,
    }
    sqs = deployment.aws.client("sqs")
    sqs.send_message(QueueUrl=deployment.requests.url, MessageBody=json.dumps(body))
    (message,) = sqs.receive_message(QueueUrl=deployment.requests.url, WaitTimeSeconds=5)[
        "Messages"
    ]
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": deployment.requests.arn,
        "awsRegion": "us-east-1",
    }
    async with (
        RuntimeApi("arn:aws:lambda:us-east-1:000000000000:function:scoring") as api,
        running(function, api.address, deployment.environment()) as process,
    ):
        polled = asyncio.create_task(api.polled.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait(
            {polled, ended, api.init_error},
            return_when="FIRST_COMPLETED",
            timeout=HANG_SECONDS,
        )
        if not polled.done():
            pytest.fail(f"it does not start: {(await process.stdout.read()).decode()[-2000:]}")
        event = json.dumps({"Records": [record]}).encode()
        answer = await api.dispatch(
            Invocation(request_id="1", payload=event, trace_id="Root=1-0-0"), HANG_SECONDS
        )
        ended.cancel()
    assert (json.loads(answer.payload), answer.error) == ({"batchItemFailures": []}, False)
    (response,) = sqs.receive_message(QueueUrl=deployment.responses.url, WaitTimeSeconds=5)[
        "Messages"
    ]
    result = json.loads(response["Body"])
    assert (result["request_id"], result["status"], result["value"]) == (
        "image-1",
        "success",
        "Yes",
    )
