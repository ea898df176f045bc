"""What hostile programs get: nothing, whoever runs the service and wherever its virtual environment lies."""

import json

import pytest

from tests.integration.sandbox.attacks import ATTACKS
from tests.support.sandbox import (
    SECRET,
    CanaryServer,
    require_confinement,
    service_of_another_user,
    service_of_this_user,
)

MIB = 1024 * 1024
LIMITS = {
    "seconds": 100.0,
    "memory_bytes": 192 * MIB,
    "disk_bytes": 16 * MIB,
    "processes": 20,
}
SERVICES = {
    "this user": service_of_this_user,
    "another user in /home": lambda: service_of_another_user("/home"),
    "another user in /tmp": lambda: service_of_another_user("/tmp"),
}


@pytest.fixture(scope="module")
def canary():
    with CanaryServer().serving() as server:
        yield server


@pytest.fixture(scope="module", params=SERVICES)
def service(request):
    require_confinement()
    with SERVICES[request.param]() as started:
        yield started


def program(attack, service, canary):
    names = {
        "CANARY_FILES": service.canaries,
        "OWN_FILES": [f"{folder}/canary" for folder in service.folders],
        "FOLDERS": service.folders,
        "PORT": canary.port,
        "SOCKET": canary.name,
        "SERVICE": service.process.pid,
        "MEMORY": LIMITS["memory_bytes"],
        "DISK": LIMITS["disk_bytes"],
        "PROCESSES": LIMITS["processes"],
    }
    header = "".join(f"{name} = {json.dumps(value)}\n" for name, value in names.items())
    return header + attack


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_nothing(service, canary, name):
    answer = service.run(program(ATTACKS[name], service, canary), **LIMITS)
    assert "error" not in answer, answer
    assert "got" not in answer["stdout"], answer["stdout"]
    assert not service.spoilt()
    assert canary.visits == 0
    assert SECRET not in answer["stdout"] + answer["stderr"]
    # It ran to its end, or its memory was over: an attack with a mistake of its own shows nothing.
    assert answer["exit_code"] in {0, 137} or "MemoryError" in answer["stderr"], answer
