"""What is built, what is skipped, and where the digests end up. The registry is moto's."""

import dataclasses

import boto3
import pytest
from moto import mock_aws

from infrastructure.config.stages import STAGES
from infrastructure.images import build, release
from infrastructure.images.engine import Build, Engine, ImageError
from infrastructure.images.inputs import content_tag
from tests.support.registry import RecordingEngine, push_to

COMMIT = "a" * 40


@pytest.fixture
def registry(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        ecr, ssm = boto3.client("ecr"), boto3.client("ssm")
        for name in ("lambda-base", "lambda-score-processing", "lambda-sweeper", "scoring-worker"):
            ecr.create_repository(repositoryName=f"plexus/{name}")
        yield ecr, ssm


@pytest.fixture
def releasing(registry):
    ecr, ssm = registry
    RecordingEngine.built = []

    def make(commit=COMMIT, **options):
        return release.Release(
            config=options.pop("config", STAGES["staging"]),
            commit=commit,
            variant="slim",
            ecr=ecr,
            ssm=ssm,
            engine=RecordingEngine(name="docker"),
            push=push_to(ecr),
        )

    return make


def built():
    return [wanted.dockerfile.rpartition(".")[2] for wanted, _ in RecordingEngine.built]


def test_digests_of_pushed_images_are_written_where_the_stack_reads_them(releasing, registry):
    ecr, ssm = registry
    releasing().functions(["score_processing", "sweeper"])
    assert built() == ["base", "fn", "fn"]
    for name in ("score_processing", "sweeper"):
        path = f"/plexus-scoring/staging/images/{name}/{COMMIT}"
        value = ssm.get_parameter(Name=path)["Parameter"]["Value"]
        (image,) = ecr.describe_images(
            repositoryName=f"plexus/lambda-{name.replace('_', '-')}",
            imageIds=[{"imageTag": COMMIT}],
        )["imageDetails"]
        assert value == image["imageDigest"]
        assert value.startswith("sha256:")


def test_a_second_release_of_a_commit_builds_nothing(releasing):
    releasing().functions(["sweeper"])
    releasing().worker()
    RecordingEngine.built = []
    releasing().functions(["sweeper"])
    releasing().worker()
    assert built() == []


def test_the_next_commit_keeps_the_base_and_builds_the_function(releasing):
    releasing().functions(["sweeper"])
    RecordingEngine.built = []
    releasing("b" * 40).functions(["sweeper"])
    assert built() == ["fn"]
    ((function, _),) = RecordingEngine.built
    assert function.arguments["BASE_IMAGE"].rpartition(":")[2].startswith("inputs-")


def test_the_base_is_built_for_the_stages_processor_with_a_layer_cache(releasing):
    releasing(config=dataclasses.replace(STAGES["staging"], architecture="arm64")).base()
    ((wanted, engine),) = RecordingEngine.built
    command = engine.build_command(wanted)
    assert command[command.index("--platform") + 1] == "linux/arm64"
    assert wanted.arguments["BUILD_IMAGE"].endswith("_aarch64")
    (cache,) = [part for part in command if part.startswith("--cache-to=type=registry")]
    assert "lambda-base:cache-slim-arm64,mode=max" in cache
    assert "--provenance=false" in command


def test_old_digests_are_forgotten(releasing, registry, monkeypatch):
    monkeypatch.setattr(release, "KEPT_PARAMETERS", 2)
    for digit in "abcd":
        releasing(digit * 40).functions(["sweeper"])
    path = "/plexus-scoring/staging/images/sweeper"
    assert len(registry[1].get_parameters_by_path(Path=path)["Parameters"]) == 2


def test_a_push_that_did_not_arrive_is_an_error(releasing):
    unfinished = releasing()
    unfinished._push = lambda reference: None
    with pytest.raises(ImageError, match="was pushed, but the registry does not know it"):
        unfinished.worker()


@pytest.mark.parametrize(
    ("arguments", "commit", "message"),
    [
        (["--stage", "prod", "base"], COMMIT, "error: unknown stage 'prod'"),
        (["--stage", "staging", "base"], "main", "error: PLEXUS_COMMIT must be the full commit"),
    ],
)
def test_bad_input_is_one_line(arguments, commit, message, monkeypatch, capsys):
    monkeypatch.setenv("PLEXUS_COMMIT", commit)
    assert release.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


# --- The base's content ---


def test_the_bases_tag_changes_with_its_files_and_settings_only(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    tag = content_tag(tmp_path, ["slim"], ["a/**/*"])
    (tmp_path / "other.py").write_text("1")
    (tmp_path / "a" / "x.pyc").write_text("1")
    assert content_tag(tmp_path, ["slim"], ["a/**/*"]) == tag
    assert content_tag(tmp_path, ["full"], ["a/**/*"]) != tag
    (tmp_path / "a" / "x.py").write_text("2")
    assert content_tag(tmp_path, ["slim"], ["a/**/*"]) != tag


def test_everything_that_the_base_copies_is_part_of_its_hash():
    from infrastructure.functions import ROOT
    from infrastructure.images.inputs import BASE_INPUTS

    covered = {path for pattern in BASE_INPUTS for path in ROOT.glob(pattern)}
    for line in (ROOT / "docker/Dockerfile.base").read_text().splitlines():
        words = [word for word in line.split() if not word.startswith("--")]
        if line.startswith("COPY ") and "--from" not in line:
            for source in words[1:-1]:
                if "$" not in source:
                    path = ROOT / source.rstrip("/")
                    assert path in covered or any(path in one.parents for one in covered), source


# --- make images ---


def test_images_are_built_base_first():
    wanted = build.local_builds(["worker", "sweeper", "base"], variant="slim", arguments={})
    assert next(one.dockerfile for one in wanted) == "docker/Dockerfile.base"
    assert {one.dockerfile for one in wanted} == {
        "docker/Dockerfile.base",
        "docker/Dockerfile.fn",
        "docker/Dockerfile.worker",
    }


def test_an_unknown_image_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(build, "find_engine", lambda _: Engine(name="docker"))
    assert build.main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("error: no image 'nonsense': there are base,")


@pytest.mark.parametrize(("engine", "option"), [("podman", "docker"), ("buildah", "docker")])
def test_other_engines_keep_the_health_check(engine, option):
    command = Engine(name=engine).build_command(
        Build(dockerfile="docker/Dockerfile.worker", tag="t")
    )
    assert command[command.index("--format") + 1] == option
    assert "--provenance=false" not in command
