"""docker/compose.yaml sets only what the worker knows, and docker/.env.example names all that it asks for."""

import re

import pytest

from plexus_scoring.cli.variables import sections
from plexus_scoring.settings import Settings
from plexus_scoring.worker.connect import PLEXUS_API_FIELDS, required_fields, transport_kind
from tests.support.compose import FILE, VARIABLE, load, worker_environment

EXAMPLE = FILE.with_name(".env.example")
OTHERS = {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
OURS = ("migrate", "worker")


def example():
    lines = (line.partition("=") for line in EXAMPLE.read_text().splitlines())
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def test_the_example_names_each_variable_with_its_default():
    asked = dict(VARIABLE.findall(FILE.read_text()))
    assert example() == asked


@pytest.mark.parametrize("service", OURS)
def test_every_variable_of_our_containers_is_a_setting(service):
    known = {row.name for section in sections() for row in section.rows} | OTHERS
    assert set(load()["services"][service]["environment"]) <= known


@pytest.mark.parametrize("transport", ["rabbitmq", "redis", "sqs"])
def test_the_worker_has_what_each_transport_needs(transport):
    queues = {name: f"http://aws:4566/000000000000/{name}" for name in example() if "URL" in name}
    settings = Settings.from_environment(worker_environment(PLEXUS_TRANSPORT=transport, **queues))
    assert transport_kind(settings) == transport
    settings.require(*required_fields(settings, transport))


def test_a_worker_can_be_set_to_work_on_a_plexus():
    plexus = {
        "PLEXUS_STORE": "plexus_api",
        "PLEXUS_API_URL": "https://plexus.example.org/graphql",
        "PLEXUS_API_KEY": "k",
        "PLEXUS_ACCOUNT_KEY": "acme",
        "PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI": "postgresql://db/checkpoints",
    }
    settings = Settings.from_environment(worker_environment(**plexus))
    assert settings.store == "plexus_api"
    settings.require(*PLEXUS_API_FIELDS)


def test_the_keys_of_every_provider_reach_the_worker():
    (providers,) = (section for section in sections() if section.title == "Model providers")
    wanted = {row.name for row in providers.rows} | {"OPENAI_API_KEY", "OPENAI_BASE_URL"}
    given = worker_environment(**dict.fromkeys(wanted, "given"))
    assert {name for name in wanted if given.get(name) != "given"} == set()


@pytest.mark.parametrize("service", OURS)
def test_our_containers_get_the_whole_env_file(service):
    assert load()["services"][service]["env_file"] == [{"path": ".env", "required": False}]


def test_several_workers_need_no_port_of_the_host():
    for port in load()["services"]["worker"]["ports"]:
        assert port.split(":")[:2] == ["127.0.0.1", ""]


# PostgreSQL numbers its releases with two parts.
PARTS = {"postgres": 2}


def is_exact(image):
    """Whether an image's tag names one release: 1.2.3, 1.2.3-variant, or with a digest."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    version = re.fullmatch(r"(\d+(?:\.\d+)*)(-[a-z0-9.]+)?", tag)
    return bool(name and version) and version[1].count(".") + 1 == PARTS.get(name, 3)


@pytest.mark.parametrize(
    "image",
    [
        "redis",
        "redis:latest",
        "redis:7",
        "redis:7.4",
        "redis:alpine",
        "postgres:17",
        "host:5000/redis",
    ],
)
def test_a_tag_that_moves_is_not_exact(image):
    assert not is_exact(image)


@pytest.mark.parametrize(
    "image",
    ["redis:7.4.9", "redis:7.4.9-alpine", "postgres:17.10", f"redis:7.4.9@sha256:{'0' * 64}"],
)
def test_a_release_is_exact(image):
    assert is_exact(image)


def test_every_image_that_is_not_built_here_is_one_release():
    ours = {load()["services"]["migrate"]["image"]}
    images = {service["image"] for service in load()["services"].values()} - ours
    assert len(images) == 4
    assert [image for image in images if not is_exact(image)] == []


def test_the_emulator_is_the_one_that_the_tests_run():
    locked = (FILE.parents[1] / "requirements" / "ministack.txt").read_text()
    assert f"ministack=={example()['MINISTACK_VERSION']} " in locked


def test_only_loopback_ports_are_published():
    for service in load()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_grace_period_is_longer_than_the_drain():
    grace = load()["services"]["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings().drain_seconds + 10
