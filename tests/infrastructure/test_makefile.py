"""What `make` says about the Python that it finds, before it installs anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "requirements").mkdir()
    for file in (
        "Makefile",
        "pyproject.toml",
        "requirements/dev.txt",
        "requirements/ministack.txt",
        "requirements/uv.txt",
    ):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def interpreter(path, version):
    """Write a command that knows nothing but its version and its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f'case "$2" in *version_info*) echo {version} ;; *executable*) echo {path} ;; *) exit 1 ;; esac\n'
    )
    path.chmod(0o755)
    return path


def make(checkout, *arguments):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(checkout)}
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(checkout, name, version):
    """Lay out an environment that `make setup` finished earlier."""
    interpreter(checkout / name / "bin/python", version)
    (checkout / name / "pyvenv.cfg").touch()
    (checkout / name / ".installed").touch()


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.15"])
def test_a_python_that_does_not_do_ends_setup_in_one_line(checkout, version):
    python = interpreter(checkout / "pythons/python3", version)

    done = make(checkout, "demo", f"PYTHON={python}")

    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"Python {version} found at {python}; 3.11 to 3.14 is needed: make demo PYTHON=python3.12"
    ]
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_not_there_ends_setup_in_one_line(checkout):
    done = make(checkout, "setup", f"PYTHON={checkout}/python3.12")

    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"{checkout}/python3.12: no such command; 3.11 to 3.14 is needed: make setup PYTHON=python3.12"
    ]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_setup_takes_every_python_of_the_package(checkout, version):
    python = interpreter(checkout / "pythons/python3", version)

    done = make(checkout, "--dry-run", "setup", f"PYTHON={python}")

    assert done.returncode == 0, done.stderr
    assert "is needed" not in done.stdout
    assert f"{python} -m venv  .venv\n" in done.stdout


def test_setup_replaces_the_environments_of_another_python(checkout):
    python = interpreter(checkout / "pythons/python3", "3.13")
    environment(checkout, ".venv", "3.12")
    environment(checkout, ".venv-ministack", "3.12")

    done = make(checkout, "--dry-run", "setup", f"PYTHON={python}")

    assert f"{python} -m venv --clear .venv\n" in done.stdout
    assert f"{python} -m venv --without-pip --clear .venv-ministack\n" in done.stdout


def test_setup_keeps_the_environments_of_this_python(checkout):
    python = interpreter(checkout / "pythons/python3", "3.13")
    environment(checkout, ".venv", "3.13")
    environment(checkout, ".venv-ministack", "3.13")

    done = make(checkout, "--dry-run", "setup", f"PYTHON={python}")

    assert done.returncode == 0, done.stderr
    assert "venv" not in done.stdout


def test_setup_replaces_an_environment_whose_python_is_gone(checkout):
    python = interpreter(checkout / "pythons/python3", "3.13")
    environment(checkout, ".venv", "3.13")
    (checkout / ".venv/bin/python").unlink()

    done = make(checkout, "--dry-run", "setup", f"PYTHON={python}")

    assert f"{python} -m venv --clear .venv\n" in done.stdout
