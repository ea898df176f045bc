"""The Dockerfiles, built for real on stand-in bases, and the images run as they are deployed."""

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
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
from tests.support.emulator import require_emulator

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
async def running(image, address, environment, options=()):
    """Run a function image as Lambda does: read-only but for /tmp, no root, bounded memory.

    `address` is the Runtime API's; without one the image starts the emulator, if it has one.
    """
    variables = {**environment, "AWS_LAMBDA_FUNCTION_NAME": "scoring"}
    if address is not None:
        variables["AWS_LAMBDA_RUNTIME_API"] = address
    variables |= {"AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
    name = unique_name("function")
    process = await asyncio.create_subprocess_exec(
        *images.PODMAN_RUN, "--name", name, "--read-only", "--memory", "512m",
        "--user", "993:990", "--tmpfs", "/tmp", *options,
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


async def put_scorecard(parts, text):
    await parts.catalog.put_scorecard(load_scorecard(text))


def make_event(deployment, *bodies):
    """Put jobs on the queue, and return the event that Lambda would make of them."""
    sqs = deployment.aws.client("sqs")
    records = []
    for body in bodies:
        sqs.send_message(QueueUrl=deployment.requests.url, MessageBody=json.dumps(body))
        answer = sqs.receive_message(QueueUrl=deployment.requests.url, WaitTimeSeconds=5)
        (message,) = answer["Messages"]
        records.append(
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": deployment.requests.arn,
                "awsRegion": "us-east-1",
            }
        )
    return json.dumps({"Records": records}).encode()


def responses_of(deployment, *requests):
    """Return the responses on the queue by request, when these have come."""
    sqs = deployment.aws.client("sqs")
    found = {}
    while not set(requests) <= set(found):
        answer = sqs.receive_message(QueueUrl=deployment.responses.url, WaitTimeSeconds=5)
        bodies = (json.loads(one["Body"]) for one in answer.get("Messages", ()))
        found |= {response["request_id"]: response for response in bodies}
    return found


def greeting(request_id):
    """Return a job of the example scorecard."""
    item = json.loads((ROOT / "examples/items/call-billing-dispute.json").read_text())
    score = {"scorecard": "call-centre-quality", "score": "Greeting"}
    return {"request_id": request_id, **score, "item": item}


async def test_the_function_scores_a_job_read_only_and_without_root(function, application):
    deployment, parts = application
    await put_scorecard(parts, (ROOT / "examples/scorecards/call-centre-quality.yaml").read_text())
    event = make_event(deployment, greeting("image-1"))
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
        answer = await api.dispatch(
            Invocation(request_id="1", payload=event, trace_id="Root=1-0-0"), HANG_SECONDS
        )
        ended.cancel()
    assert (json.loads(answer.payload), answer.error) == ({"batchItemFailures": []}, False)
    result = responses_of(deployment, "image-1")["image-1"]
    assert (result["status"], result["value"]) == ("success", "Yes")


async def test_the_unchanged_image_scores_a_job_under_the_real_emulator(function, application):
    deployment, parts = application
    await put_scorecard(parts, (ROOT / "examples/scorecards/call-centre-quality.yaml").read_text())
    event = make_event(deployment, greeting("image-2"))
    answers = await under_emulator(function, deployment, event, b"[]", event)
    # The second copy of the message finds the job done.
    assert answers[0] == answers[2] == (200, {"batchItemFailures": []})
    assert answers[1][1]["errorType"] == "InvalidRequest"
    result = responses_of(deployment, "image-2")["image-2"]
    assert (result["status"], result["value"]) == ("success", "Yes")


async def under_emulator(image, deployment, *events):
    """Run the unchanged image under AWS's emulator, and return the status and answer of each event."""
    mounted = ("--volume", f"{require_emulator()}:/usr/local/bin/aws-lambda-rie:ro")
    async with running(image, None, deployment.environment(), mounted) as process:
        await until_port_8080(process)
        return [await asyncio.to_thread(invoke, event) for event in events]


async def until_port_8080(process):
    """Wait until the emulator of a container listens, or say why its container has ended."""
    async with asyncio.timeout(HANG_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", 8080)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
    pytest.fail(f"it does not start: {(await process.stdout.read()).decode()[-2000:]}")


def invoke(body):
    """Return the status and the answer of one event, at the address of Lambda's documentation."""
    address = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
    with urllib.request.urlopen(address, data=body, timeout=HANG_SECONDS) as response:
        return response.status, json.loads(response.read())


# --- The base with Plexus ---

PLEXUS_CARD = """name: Card
key: card
scores:
- {name: Of Plexus, id: 1, class: LangGraphScore, graph: [], item: {class: DeepgramInputSource}}
- name: Of Lua
  id: 2
  class: TactusScore
  code: |
    Procedure {
      input = { text = field.string{required = true} },
      output = { value = field.string{required = true} },
      function(input) return { value = "Lua heard " .. input.text } end
    }
"""


async def test_the_base_with_plexus_runs_it_and_lua_beside_the_service(
    function_with_plexus, application
):
    deployment, parts = application
    await put_scorecard(parts, PLEXUS_CARD)
    item = {"id": "item-1", "text": "hello"}
    event = make_event(
        deployment,
        {"request_id": "plexus", "scorecard": "card", "score": "Of Plexus", "item": item},
        {"request_id": "lua", "scorecard": "card", "score": "Of Lua", "item": item},
    )
    answers = await under_emulator(function_with_plexus, deployment, event)
    assert answers == [(200, {"batchItemFailures": []})]
    found = responses_of(deployment, "plexus", "lua")
    assert (found["plexus"]["status"], found["plexus"]["value"]) == ("success", "Yes")
    assert (found["lua"]["status"], found["lua"]["value"]) == ("success", "Lua heard hello")


def test_plexus_s_packages_are_those_of_its_lock_and_apart_from_the_service_s(base_with_plexus):
    script = """
import importlib.metadata as m, json, os, nltk, psycopg
assert not [p for p in __import__("sys").path if p.startswith("/opt/python")]
nltk.data.find("tokenizers/punkt_tab/english/")
print(json.dumps({n: m.version(n) for n in ("plexus", "tenacity", "rapidfuzz", "langgraph", "tactus")}))
"""
    done = images.inside(base_with_plexus, "-I", "-c", script, entrypoint="/opt/plexus/bin/python")
    found = json.loads(done.stdout)
    lock = (ROOT / "requirements/plexus.txt").read_text()
    assert found.pop("plexus") == "0.0.1"
    for name, version in found.items():
        assert f"\n{name}=={version} " in lock
    listed = images.inside(base_with_plexus, "/opt/plexus/sbom.cdx.json", entrypoint="/bin/cat")
    assert "langgraph" in listed.stdout
