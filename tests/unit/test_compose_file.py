"""docker/compose.yaml sets only what the worker knows, and docker/.env.example names all that it asks for."""

import re
from pathlib import Path

import pytest
import yaml

from plexus_scoring.settings import Settings, describe_settings
from plexus_scoring.worker.connect import required_fields, transport_kind

FILE = Path(__file__).parents[2] / "docker" / "compose.yaml"
EXAMPLE = FILE.with_name(".env.example")
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
OTHERS = {
    "OPENAI_API_KEY",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
}
OURS = ("migrate", "worker")


def load(**given):
    """Return the file as compose reads it, with these variables set."""
    text = VARIABLE.sub(lambda found: given.get(found[1]) or found[2], FILE.read_text())
    assert "$" not in text, "a variable without a default"
    return yaml.safe_load(text)


def example():
    lines = (line.partition("=") for line in EXAMPLE.read_text().splitlines())
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def test_the_example_names_each_variable_with_its_default():
    asked = dict(VARIABLE.findall(FILE.read_text()))
    assert example() == asked


@pytest.mark.parametrize("service", OURS)
def test_every_variable_of_our_containers_is_a_setting(service):
    known = {setting.name for setting in describe_settings()} | OTHERS
    assert set(load()["services"][service]["environment"]) <= known


@pytest.mark.parametrize("transport", ["rabbitmq", "redis", "sqs"])
def test_the_worker_has_what_each_transport_needs(transport):
    queues = {name: f"http://aws:4566/000000000000/{name}" for name in example() if "URL" in name}
    environment = load(PLEXUS_TRANSPORT=transport, **queues)["services"]["worker"]["environment"]
    settings = Settings.from_environment({name: str(value) for name, value in environment.items()})
    assert transport_kind(settings) == transport
    settings.require(*required_fields(settings, transport))


def test_only_loopback_ports_are_published():
    for service in load()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_grace_period_is_longer_than_the_drain():
    grace = load()["services"]["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings().drain_seconds + 10
