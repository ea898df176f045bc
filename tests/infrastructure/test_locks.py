"""The images' lock files: complete, and loadable on the glibc of the runtime they are for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "requirements"
NAME = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file):
    return {normal(name): version for name, version in NAME.findall((LOCKS / file).read_text())}


def wanted(*extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set()
    for requirement in [
        *project["dependencies"],
        *(r for e in extras for r in project["optional-dependencies"][e]),
    ]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        if normal(name) == "plexus-scoring":
            inner = re.search(r"\[(.*?)\]", requirement)[1].split(",")
            names |= wanted(*(extra.strip() for extra in inner))
        else:
            names.add(normal(name))
    return names


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("lambda.txt", ("lambda", "portable")),
        ("lambda-2014.txt", ("lambda", "portable")),
        ("worker.txt", ("worker",)),
        ("infra.txt", ("infra",)),
    ],
)
def test_a_lock_holds_everything_that_its_extras_name(file, extras):
    missing = wanted(*extras) - set(locked(file))
    assert not missing, f"{file} lacks {missing}: make lock-deploy"


@pytest.mark.parametrize("file", ["lambda.txt", "worker.txt", "infra.txt", "lambda-binary.txt"])
def test_images_run_the_versions_that_are_tested(file):
    tested = locked("dev.txt")
    differing = {n: v for n, v in locked(file).items() if n in tested and tested[n] != v}
    assert not differing, f"{file} differs from dev.txt: make lock-deploy"


def test_the_worker_has_no_lambda_runtime():
    assert "awslambdaric" not in locked("worker.txt")


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.name)
def test_locks_name_hashes_and_no_index(path):
    text = path.read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text):
        if NAME.match(block):
            assert "--hash=sha256:" in block


# The runtime's Python, its glibc, and the lock that its images are built from.
PAIRS = [
    pytest.param("3.12", (2, 34), "x86_64", ["lambda.txt"], id="python3.12-x86_64"),
    pytest.param("3.12", (2, 34), "aarch64", ["lambda.txt"], id="python3.12-aarch64"),
    pytest.param(
        "3.12", (2, 28), "x86_64", ["lambda.txt", "lambda-binary.txt"], id="python3.12-full"
    ),
    pytest.param("3.11", (2, 17), "x86_64", ["lambda-2014.txt"], id="python3.11-x86_64"),
]


def platforms(glibc, machine):
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc[1], 4, -1)]
    return [*names, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("python", "glibc", "machine", "files"), PAIRS)
def test_every_locked_wheel_loads_on_the_runtimes_glibc(python, glibc, machine, files, tmp_path):
    done = pip_resolve(python, glibc, machine, files, tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]


def test_the_newer_lock_does_not_fit_the_older_runtime(tmp_path):
    done = pip_resolve("3.11", (2, 26), "x86_64", ["lambda.txt"], tmp_path)
    assert done.returncode != 0
    assert "rapidfuzz" in done.stderr


def pip_resolve(python, glibc, machine, files, target):
    """Let pip choose a wheel for each locked version as it would on that runtime; installs nothing."""
    options = [part for name in platforms(glibc, machine) for part in ("--platform", name)]
    requirements = [part for name in files for part in ("-r", str(LOCKS / name))]
    return subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
            "--require-hashes", "--only-binary", ":all:", "--python-version", python, *options,
            "--target", str(target), "--quiet", *requirements,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
