"""Which container engine is taken, and what it says of sizes. The engines are scripts on a PATH of our own."""

from pathlib import Path

import pytest

from infrastructure.images.build import local_builds, main, plexus_contexts, size_report
from infrastructure.images.engine import Build, Engine, ImageError, find_engine


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


REFERENCE = "registry.example/base:cache"
BUILD = Build(dockerfile="docker/Dockerfile.base", tag="base:1")


def test_a_layer_cache_has_a_builder_that_can_write_it(install, tmp_path):
    log = tmp_path / "log"
    # The default builder refuses a registry cache; `inspect` fails because this one is not there yet.
    install("docker", f'echo "$@" >> {log}; [ "$2" != inspect ]')
    command = Engine(name="docker").with_cache(REFERENCE).build_command(BUILD)
    assert command[command.index("--builder") + 1] == "plexus-scoring"
    assert any(part.startswith(f"--cache-to=type=registry,ref={REFERENCE}") for part in command)
    assert "buildx create --name plexus-scoring --driver docker-container" in log.read_text()


def test_without_such_a_builder_there_is_no_cache_and_one_line_says_so(install, capsys):
    install("docker", "exit 1")
    command = Engine(name="docker").with_cache(REFERENCE).build_command(BUILD)
    assert not [part for part in command if "cache" in part or part == "--builder"]
    assert capsys.readouterr().err.startswith("no layer cache: docker cannot start a builder")
    assert Engine(name="buildah").with_cache(REFERENCE).cache is None


def test_sizes_are_shown_beside_their_budgets(install):
    sizes = "*base:slim) echo 300000000;; *worker:local) echo 301000000;; *) echo 300020000"
    install("podman", f'case "$5" in {sizes};; esac')
    rows = [line.split() for line in size_report(Engine(name="podman")).splitlines()[1:]]
    assert rows == [
        ["plexus/lambda-score-processing:local", "300.02", "350"],
        ["its", "layer", "0.02", "1"],
        ["plexus/lambda-sweeper:local", "300.02", "350"],
        ["its", "layer", "0.02", "1"],
        ["plexus/scoring-worker:local", "301.00", "300", "over"],
    ]


def test_checkouts_are_copied_without_what_the_image_does_not_need(tmp_path):
    package = tmp_path / "checkout" / "plexus"
    package.mkdir(parents=True)
    for name in ("__init__.py", "Scorecard.py", "Scorecard_test.py", "old.pyc"):
        (package / name).write_text("")
    (tmp_path / "checkout" / "pyproject.toml").write_text("")
    (tmp_path / "checkout" / "dashboard").mkdir()
    with plexus_contexts(tmp_path / "checkout", None) as contexts:
        copied = Path(contexts["plexus-src"])
        found = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
        (build,) = local_builds(["base"], variant="full", arguments={}, contexts=contexts)
        command = Engine(name="docker").build_command(build)
    assert found == {"pyproject.toml", "plexus/__init__.py", "plexus/Scorecard.py"}
    assert f"plexus-src={copied}" in command
    assert not copied.exists()


def test_what_is_no_checkout_is_refused_with_one_line(install, tmp_path, capsys):
    install("podman", "exit 0")
    assert main(["base", "--engine", "podman", "--plexus-src", str(tmp_path)]) == 2
    assert "has no package plexus" in capsys.readouterr().err
