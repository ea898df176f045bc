"""The images' lock files: complete, and loadable on the glibc of the runtime they are for."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "requirements"
PIN = re.compile(r"^[A-Za-z0-9._-]+==[^\\\n]+", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
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
        ("lambda.txt", ("lambda", "portable", "rubric")),
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
    "newer lock on glibc 2.26": ("3.12", (2, 26), "x86_64", ["lambda.txt"]),
}


def platforms(glibc, machine):
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc[1], 4, -1)]
    return [*names, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]


def loads_anywhere():
    """Return name → version of what is installed here from a wheel without binary code."""
    return {
        normal(found.metadata["Name"]): found.version
        for found in metadata.distributions()
        if (tags := re.findall(r"^Tag: (\S+)", found.read_text("WHEEL") or "", re.MULTILINE))
        and all(re.fullmatch(r"py[\d.py]*-none-any", tag) for tag in tags)
    }


def hashes_of(file):
    """Return (name, version) → the hashes that a lock allows."""
    blocks = re.split(r"\n(?=\S)", text_of(file))
    pins = {(normal(m[1]), m[2]): block for block in blocks if (m := NAME.match(block))}
    return {pin: set(HASH.findall(block)) for pin, block in pins.items()}


@pytest.mark.parametrize("file", ["lambda.txt", "lambda-binary.txt"])
def test_wheels_that_load_anywhere_are_the_ones_installed_here(file):
    here, tested = loads_anywhere(), hashes_of("dev.txt")
    pure = {pin for pin in hashes_of(file) if here.get(pin[0]) == pin[1]}
    assert pure
    differing = {pin for pin in pure if pin in tested and hashes_of(file)[pin] != tested[pin]}
    assert not differing


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    """pip's choice and errors for each case; they run side by side, because pip mostly waits."""
    folder = tmp_path_factory.mktemp("wheels")
    running = {name: pip_resolve(*case, folder / name) for name, case in CASES.items()}
    errors = {name: process.communicate()[1] for name, process in running.items()}
    return {name: (chosen_files(folder / name), errors[name]) for name in CASES}


@pytest.mark.parametrize("case", list(CASES)[:-1])
def test_every_locked_wheel_loads_on_the_runtimes_glibc(case, resolved):
    chosen, errors = resolved[case]
    assert chosen, errors[-1500:]
    hashes = {digest for file in CASES[case][3] for digest in HASH.findall(text_of(file))}
    assert not [name for name, digest in chosen.items() if digest not in hashes]
    assert {"msgspec", "rapidfuzz", "regex"} <= set(chosen)


def test_the_newer_lock_does_not_fit_the_older_runtime(resolved):
    chosen, errors = resolved["newer lock on glibc 2.26"]
    assert not chosen
    assert "pydantic-monty" in errors


def pip_resolve(python, glibc, machine, files, folder):
    """Let pip choose a wheel for each locked version as it would on that runtime; installs nothing.

    It need not for those whose wheel loads anywhere. Hashes are compared afterwards: given them, pip downloads every
    wheel (100 MB); without, it reads the index alone.
    """
    folder.mkdir()
    here = loads_anywhere()
    pins = [
        line
        for file in files
        for line in PIN.findall(text_of(file))
        if here.get(normal(NAME.match(line)[1])) != NAME.match(line)[2]
    ]
    (folder / "pins.txt").write_text("\n".join(sorted(set(pins))))
    options = [part for name in platforms(glibc, machine) for part in ("--platform", name)]
    return subprocess.Popen(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
            "--only-binary", ":all:", "--python-version", python, *options, "--quiet",
            "--target", str(folder / "none"), "--report", str(folder / "report.json"),
            "-r", str(folder / "pins.txt"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def chosen_files(folder):
    """Return name → SHA-256 of the wheels in pip's report; nothing if it found no wheel for one of them."""
    report = folder / "report.json"
    if not report.exists():
        return {}
    return {
        normal(found["metadata"]["name"]): found["download_info"]["archive_info"]["hashes"][
            "sha256"
        ]
        for found in json.loads(report.read_text())["install"]
    }


def text_of(file):
    return (LOCKS / file).read_text()
