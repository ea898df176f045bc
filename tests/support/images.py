"""Container images on a machine without a registry: a stand-in for every base image, and builds on it.

The stand-in is Debian with Python 3.11, laid out like Lambda's and manylinux's images as far as the Dockerfiles care.
What only the real bases have (dnf, the runtime interface emulator, glibc 2.34) is not shown by it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("buildah", "podman", "runc", "mmdebstrap")
# With its isolation "chroot" buildah ends as soon as a RUN does, whether or not what it wrote was passed on by then.
ENGINE = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "oci", "BUILDAH_RUNTIME": "runc"}
STAND_IN = "localhost/plexus-standin:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


def missing(reason: str) -> None:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require_engine() -> None:
    """Skip on a laptop without the tools, fail in CI."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if not absent and os.geteuid() == 0:
        return
    reason = (
        f"image tests need root and {', '.join(absent or NEEDED)}: "
        "apt-get install -y buildah podman runc mmdebstrap netavark aardvark-dns iptables"
    )
    missing(reason)


def run(*command: str, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """Run a command with its output kept; on failure the output is the assertion's message."""
    environment = {**os.environ, **ENGINE}
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def stand_in() -> str:
    """Return the stand-in's name; it is made once a machine (about 30 s)."""
    if run("podman", "image", "exists", STAND_IN, check=False).returncode == 0:
        return STAND_IN
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        packages = "ca-certificates,python3.11-minimal,python3-pip,python3-venv"
        # Nothing that a runtime image does not have either: documentation, translations, package lists.
        slim = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        run(
            "mmdebstrap",
            "--variant=minbase",
            *slim,
            f"--include={packages}",
            "bookworm",
            str(root),
            str(SOURCES),
        )
        for folder_name, links in {
            "var/lang/bin": ("python3.11", "python3", "python", "pip"),
            "opt/python/cp311-cp311/bin": ("python3.11", "python3", "python", "pip"),
        }.items():
            directory = root / folder_name
            directory.mkdir(parents=True)
            for link in links:
                (directory / link).symlink_to(
                    f"/usr/bin/{'pip3' if link == 'pip' else 'python3.11'}"
                )
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        (root / "var/task").mkdir()
        archive = Path(folder) / "root.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".")
        run(
            "podman", "import",
            "--change", "ENV PATH=/var/lang/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
            "--change", "WORKDIR /var/task",
            str(archive), STAND_IN,
        )  # fmt: skip
    return STAND_IN


def build(dockerfile: str, tag: str, *, target: str | None = None, check: bool = True, folder: Path = ROOT,
          contexts: dict[str, Path] | None = None,
          **arguments: str) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Build one of the project's Dockerfiles, unchanged, without pulling anything."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as pip:
        pip.write(f"[global]\ncert = {CERTIFICATES}\n")
        pip.flush()
        Path(pip.name).chmod(0o644)
        return run(
            "buildah", "build", "--pull-never", "--network", "host", "--format", "docker", "--layers",
            "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro",
            "--volume", f"{pip.name}:/etc/pip.conf:ro",
            "--file", dockerfile, "--tag", tag,
            *(["--target", target] if target else []),
            *(part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")),
            *(part for key, path in (contexts or {}).items() for part in ("--build-context", f"{key}={path}")),
            str(folder),
            check=check,
        )  # fmt: skip


def size(image: str) -> int:
    """Return the image's unpacked size in bytes."""
    return int(run("podman", "image", "inspect", "--format", "{{.Size}}", image).stdout)


def inspect(image: str) -> dict:
    """Return what the engine knows of an image."""
    (found,) = json.loads(run("podman", "image", "inspect", image).stdout)
    return found


def layers(image: str) -> list[str]:
    """Return the image's layers, the oldest first."""
    return inspect(image)["RootFS"]["Layers"]


PODMAN_RUN = (
    "podman", "--runtime", "runc", "run", "--rm", "--network", "host", "--pull", "never",
    "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096",
)  # fmt: skip


def inside(image: str, *command: str, entrypoint: str, check: bool = True, options: tuple[str, ...] = ()) -> (
    subprocess.CompletedProcess[str]
):  # fmt: skip
    """Run another program of an image than its own."""
    return run(
        *PODMAN_RUN, "--no-healthcheck", *options, "--entrypoint", entrypoint, image, *command, check=check
    )  # fmt: skip
