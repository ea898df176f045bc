"""The worker image, built for real on a stand-in base and run against real servers and the embedded AWS."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from plexus_scoring.local.stack import BUCKET, LocalDeployment, StackOptions
from plexus_scoring.stores.sql import connect
from plexus_scoring.transports import rabbitmq_topology
from tests.support import brokers, images
from tests.support.aws import require_embedded_aws, unique_name
from tests.support.clock import HANG_SECONDS
from tests.support.compose import worker_environment
from tests.support.services import postgresql
from tests.support.stores import key
from tests.support.transport_rigs import RabbitRig

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000


def test_the_worker_is_no_lambda_and_no_root(worker):
    user = images.inside(worker, "-c", "id -u; id -un", entrypoint="/bin/sh").stdout.split()
    assert user == ["1001", "appuser"]
    done = images.inside(
        worker, "-c", "import awslambdaric", entrypoint="/app/bin/python", check=False
    )
    assert "No module named 'awslambdaric'" in done.stderr


def test_the_worker_has_a_health_check_and_a_process_1(worker):
    config = images.inspect(worker)["Config"]
    assert config["Entrypoint"][0] == "/usr/bin/tini"
    assert "/livez" in json.dumps(images.inspect(worker)["Healthcheck"])
    assert "PYTHONUNBUFFERED=1" in config["Env"]


def test_the_worker_says_what_it_is_and_what_is_in_it(worker):
    labels = images.inspect(worker)["Config"]["Labels"]
    names = {"title", "source", "licenses", "revision"}
    assert {f"org.opencontainers.image.{name}" for name in names} <= set(labels)
    listed = json.loads(images.inside(worker, "/app/sbom.cdx.json", entrypoint="/bin/cat").stdout)
    assert listed["bomFormat"] == "CycloneDX"
    found = {component["name"].lower() for component in listed["components"]}
    assert {"aio-pika", "psycopg", "redis"} <= found


def test_the_worker_runs_on_a_read_only_root(worker):
    done = images.inside(
        worker, "--help", entrypoint="/opt/service/bin/plexus-scoring", options=("--read-only",)
    )
    assert "plexus-scoring" in done.stdout


def test_what_the_worker_adds_is_within_its_budget(stand_in, worker):
    added = images.size(worker) - images.size(stand_in)
    # With the 125 MB of python:3.12-slim it must stay below 300 MB.
    assert added < 170 * MEGABYTE


def test_missing_settings_end_the_worker_with_all_their_names(worker):
    done = images.run(
        *images.PODMAN_RUN,
        "--no-healthcheck",
        "--read-only",
        worker,
        "worker",
        "--transport",
        "rabbitmq",
        check=False,
    )
    assert done.returncode == 1
    names = {
        "PLEXUS_RABBITMQ_URL",
        "PLEXUS_RABBITMQ_REQUEST_QUEUE",
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE",
    }
    (line,) = [
        line for line in done.stderr.splitlines() if names & set(line.replace(",", " ").split())
    ]
    assert all(name in line for name in names)


@pytest.fixture(scope="module")
def database():
    with postgresql() as url:
        yield url


@pytest.fixture
async def rig():
    rig = RabbitRig()
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    yield rig
    await rig.aclose()


class Container:
    """A worker's container. Its log is read as it is written."""

    def __init__(self, process, name, port):
        self.process = process
        self.name = name
        self.port = port
        self.lines = []

    async def log_until(self, words):
        """Read the log until a line has these words."""
        while line := (await self.process.stdout.readline()).decode():
            self.lines.append(line)
            if words in line:
                return line
        pytest.fail(f"it ended with {await self.process.wait()}:\n{''.join(self.lines)}")

    async def get(self, path):
        """Return the health server's status and text."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.split()[1]), answer

    async def ask(self, *command):
        """Have podman do something with it."""
        return await asyncio.to_thread(
            images.run, "podman", "--runtime", "runc", *command, check=False
        )


@pytest.fixture
def catalog(tmp_path):
    """The examples, readable for the container's user whatever the checkout's modes are."""
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        copy = tmp_path / "catalog" / path.relative_to(ROOT / "examples")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o644)
        copy.parent.chmod(0o755)
    (tmp_path / "catalog").chmod(0o755)
    return tmp_path / "catalog"


@contextlib.asynccontextmanager
async def running(image, environment, catalog, *command):
    """Run the worker as it is deployed: its own user and process 1, a read-only root, bounded memory."""
    name, port = unique_name("worker"), brokers.free_port()
    variables = environment | {"PLEXUS_HEALTH_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *images.PODMAN_RUN, "--no-healthcheck", "--name", name, "--read-only", "--memory", "512m", "--tmpfs", "/tmp",
        "--volume", f"{catalog}:/catalog:ro",
        *(part for key, value in variables.items() for part in ("--env", f"{key}={value}")),
        image, *(command or ("worker", "--transport", "rabbitmq")),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    container = Container(process, name, port)
    try:
        yield container
    finally:
        await container.ask("rm", "--force", "--time", "0", name)
        await process.communicate()


async def test_the_worker_scores_what_rabbitmq_brings_and_stops_in_order(
    worker, rig, database, catalog
):
    environment = {
        "PLEXUS_RABBITMQ_URL": rig.url,
        "PLEXUS_RABBITMQ_REQUEST_QUEUE": rig.topology.request,
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE": rig.topology.response,
        "PLEXUS_STORE": "sql",
        "PLEXUS_DATABASE_URL": database,
        "PLEXUS_CATALOG_DIR": "/catalog",
        "PLEXUS_ATTACHMENTS_DIR": "/tmp/attachments",
    }
    upgrade = await asyncio.to_thread(
        images.run, *images.PODMAN_RUN, "--no-healthcheck", "--read-only",
        "--env", f"PLEXUS_DATABASE_URL={database}", worker, "db", "upgrade",
    )  # fmt: skip
    assert "version" in upgrade.stdout
    item = json.loads((ROOT / "examples/items/call-billing-dispute.json").read_text())
    request = {
        "request_id": "image-2",
        "scorecard": "call-centre-quality",
        "score": "Greeting",
        "item": item,
    }
    async with running(worker, environment, catalog) as container:
        started = await container.log_until("worker started")
        assert rig.topology.request in started
        assert (await container.get("/livez"))[0] == 200
        while (await container.get("/readyz"))[0] != 200:
            await asyncio.sleep(0.05)
        # What the image's HEALTHCHECK runs. (podman itself needs systemd to run it on time.)
        check = images.inspect(worker)["Healthcheck"]["Test"]
        done = await container.ask("exec", container.name, *check[1:])
        assert (check[0], done.returncode) == ("CMD", 0), done.stderr

        await rig.admin.send(json.dumps(request), request_id="image-2")
        await container.log_until("image-2")
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while not (responses := await rig.responses()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await container.ask("kill", container.name)
            rest = (await container.process.stdout.read()).decode()
            pytest.fail(f"no response came:\n{''.join(container.lines)[-3000:]}{rest[-3000:]}")
        (response,) = responses
        assert (response["request_id"], response["status"]) == ("image-2", "success")
        assert response["value"] == "Yes"
        stores = connect(database)
        job = await stores.jobs.get(key(response["scoring_job_id"]))
        await stores.aclose()
        assert (job.status, job.attempt) == ("COMPLETED", 1)
        assert "plexus_scoring_jobs_total" in (await container.get("/metrics"))[1]

        # SIGTERM to process 1, as every orchestrator does.
        await container.ask("kill", "--signal", "TERM", container.name)
        await container.log_until("stopped")
        assert await container.process.wait() == 0


async def test_compose_with_its_defaults_scores_its_first_message(worker, rig, database, catalog):
    """The containers' variables are those of docker/compose.yaml; only where the servers stand is another."""
    environment = worker_environment() | {
        "PLEXUS_RABBITMQ_URL": rig.url,
        "PLEXUS_RABBITMQ_REQUEST_QUEUE": rig.topology.request,
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE": rig.topology.response,
        "PLEXUS_DATABASE_URL": database,
    }
    variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    await asyncio.to_thread(
        images.run, *images.PODMAN_RUN, "--no-healthcheck", *variables, worker, "db", "upgrade"
    )
    async with running(worker, environment, catalog, "worker") as container:
        await container.log_until("worker started")
        await rig.admin.send('{"scoring_job_id": "first"}', request_id="first")
        async with asyncio.timeout(HANG_SECONDS):
            while not (responses := await rig.responses()):
                await asyncio.sleep(0.05)
    (response,) = responses
    assert (response["scoring_job_id"], response["status"]) == ("first", "success")


async def test_a_file_put_into_s3_is_scored_by_a_worker_on_sqs(worker, tmp_path, catalog):
    require_embedded_aws()
    with LocalDeployment(tmp_path / "aws", StackOptions(poll=False)) as deployment:
        sqs, s3 = deployment.aws.client("sqs"), deployment.aws.client("s3")

        def receive():
            queue = deployment.responses.url
            return sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20).get("Messages")

        arrivals = {
            "QueueArn": deployment.requests.arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "inbox/"}]}},
        }
        s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [arrivals]}
        )
        environment = deployment.environment() | {
            "PLEXUS_CATALOG_DIR": "/catalog",
            "SCORECARD_CACHE_DIR": "/tmp/scorecards",
        }
        command = ("worker", "--transport", "sqs")
        async with running(worker, environment, catalog, *command) as container:
            await container.log_until("worker started")
            item = json.loads((ROOT / "examples/items/call-billing-dispute.json").read_text())
            key = "inbox/call-centre-quality/Greeting/call-1.txt"
            await asyncio.to_thread(s3.put_object, Bucket=BUCKET, Key=key, Body=item["text"])
            async with asyncio.timeout(HANG_SECONDS):
                while not (found := await asyncio.to_thread(receive)):
                    pass  # each asks for 20 s
    response = json.loads(found[0]["Body"])
    assert response["request_id"].startswith("s3-")
    assert (response["status"], response["value"]) == ("success", "Yes")
