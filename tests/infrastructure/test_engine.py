"""Which container engine is taken, and what it says of sizes. The engines are scripts on a PATH of our own."""

import pytest

from infrastructure.images.engine import Engine, ImageError, find_engine


@pytest.fixture
def install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name, body):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return make


def test_an_engine_whose_daemon_is_down_is_passed_over(install):
    install("docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    install("buildah", "exit 0")
    assert find_engine().name == "buildah"


def test_docker_without_buildx_is_passed_over(install):
    install("docker", '[ "$1" = info ]')
    install("podman", "exit 0")
    assert find_engine().name == "podman"


def test_a_machine_without_an_engine_is_told_so_in_one_line(install):
    install("docker", "exit 1")
    with pytest.raises(ImageError, match=r"no container engine \(docker, podman, buildah\) is"):
        find_engine()
    with pytest.raises(ImageError, match="unknown engine 'kaniko'"):
        find_engine("kaniko")


def test_buildahs_sizes_are_read(install):
    install("buildah", """echo '[{"id": "1", "size": "303 MB"}]'""")
    assert Engine(name="buildah").size("any") == 303_000_000
