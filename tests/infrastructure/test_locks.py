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


# Python, the newest glibc that wheels may need, processor, and the locks that images are built from. Amazon Linux 2023
# has 2.34; the build image's 2.28 is what its wheels may need.
CASES = {
    "python3.12-x86_64": ("3.12", (2, 28), "x86_64", ["lambda.txt", "lambda-binary.txt"]),
    "python3.12-aarch64": ("3.12", (2, 28), "aarch64", ["lambda.txt"]),
    "python3.11-x86_64": ("3.11", (2, 17), "x86_64", ["lambda-2014.txt"]),
    "newer lock on glibc 2.26": ("3.11", (2, 26), "x86_64", ["lambda.txt"]),
}


def platforms(glibc, machine):
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc[1], 4, -1)]
    return [*names, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    """pip's exit code and errors for each case; they run side by side, because pip mostly waits."""
    folder = tmp_path_factory.mktemp("wheels")
    running = {name: pip_resolve(*case, folder / name) for name, case in CASES.items()}
    return {
        name: (process.communicate()[1], process.returncode) for name, process in running.items()
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", list(CASES)[:-1])
def test_every_locked_wheel_loads_on_the_runtimes_glibc(case, resolved):
    errors, code = resolved[case]
    assert code == 0, errors[-1500:]


@pytest.mark.timeout(300)
def test_the_newer_lock_does_not_fit_the_older_runtime(resolved):
    errors, code = resolved["newer lock on glibc 2.26"]
    assert code != 0
    assert "rapidfuzz" in errors


def pip_resolve(python, glibc, machine, files, target):
    """Let pip choose a wheel for each locked version as it would on that runtime; installs nothing."""
    options = [part for name in platforms(glibc, machine) for part in ("--platform", name)]
    requirements = [part for name in files for part in ("-r", str(LOCKS / name))]
    return subprocess.Popen(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
            "--require-hashes", "--only-binary", ":all:", "--python-version", python, *options,
            "--target", str(target), "--quiet", *requirements,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
