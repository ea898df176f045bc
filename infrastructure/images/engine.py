"""One build command for docker, podman and buildah."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infrastructure.functions import ROOT

ENGINES = ("docker", "podman", "buildah")
# Docker's default builder cannot put its cache into a registry; one of this driver can.
BUILDER = "plexus-scoring"
BUILDER_DRIVER = "docker-container"


class ImageError(RuntimeError):
    """An image cannot be built, pushed or found. Its text is one line: what, where, what to do."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One image to build.

    Attributes:
        dockerfile: Path from the repository's root.
        tag: Name and tag of the result.
        target: Stage of the Dockerfile; None for the last.
        arguments: Build arguments.
        contexts: Directories that stand in for stages of these names.
    """

    dockerfile: str
    tag: str
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A container engine's command.

    Attributes:
        name: docker, podman or buildah.
        platform: For example ``linux/amd64``; None for this machine's.
        options: Further options of every build.
        cache: Registry reference where layers are kept between machines; None for no such cache. Set by `with_cache`.
    """

    name: str
    platform: str | None = None
    options: Sequence[str] = ()
    cache: str | None = None

    def build_command(self, build: Build) -> list[str]:
        """Return the command line."""
        command = [self.name, *_VERB[self.name]]
        if self.name == "docker":
            # Attestations turn the image into an index, which Lambda refuses (aws-cdk#30258).
            command += ["--provenance=false", "--sbom=false", "--load"]
            if self.cache is not None:
                place = f"type=registry,ref={self.cache}"
                form = "mode=max,image-manifest=true,oci-mediatypes=true"  # what ECR can store
                command += ["--builder", BUILDER]
                command += [f"--cache-from={place}", f"--cache-to={place},{form}"]
        else:
            command += ["--format", "docker", "--layers"]  # OCI's format has no HEALTHCHECK
        if self.platform is not None:
            command += ["--platform", self.platform]
        command += ["--file", build.dockerfile, "--tag", build.tag]
        if build.target is not None:
            command += ["--target", build.target]
        for key, value in build.arguments.items():
            command += ["--build-arg", f"{key}={value}"]
        for name, directory in build.contexts.items():
            command += ["--build-context", f"{name}={directory}"]
        return [*command, *self.options, "."]

    def build(self, build: Build, *, folder: Path = ROOT) -> None:
        """Build the image. Raises ImageError."""
        environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        try:
            subprocess.run(self.build_command(build), cwd=folder, env=environment, check=True)  # noqa: S603  our own command
        except subprocess.CalledProcessError as error:
            raise ImageError(f"{build.dockerfile} does not build (see above)") from error

    def with_cache(self, reference: str) -> Engine:
        """Return an engine that keeps layers at `reference`; without a cache, and a line why, if it cannot."""
        if self.name != "docker":
            return self
        driver = ["--name", BUILDER, "--driver", BUILDER_DRIVER]
        if not (
            self._succeeds("buildx", "inspect", "--bootstrap", BUILDER)
            or self._succeeds("buildx", "create", *driver, "--bootstrap")
        ):
            sys.stderr.write(
                f"no layer cache: docker cannot start a builder of the driver {BUILDER_DRIVER}; building without\n"
            )
            return self
        return replace(self, cache=reference)

    def run(self, *arguments: str) -> str:
        """Run another of the engine's commands and return what it prints. Raises ImageError."""
        try:
            done = subprocess.run(  # noqa: S603  our own command
                [self.name, *arguments], check=True, stdout=subprocess.PIPE, text=True
            )
        except subprocess.CalledProcessError as error:
            raise ImageError(f"{self.name} {' '.join(arguments)} failed (see above)") from error
        return done.stdout

    def size(self, image: str) -> int:
        """Return an image's unpacked size in bytes. Raises ImageError."""
        if self.name != "buildah":
            return int(self.run("image", "inspect", "--format", "{{.Size}}", image))
        (found,) = json.loads(self.run("images", "--json", image))
        number, unit = found["size"].split()  # buildah knows it to three digits only
        return int(float(number) * _UNITS[unit])

    def answers(self) -> bool:
        """Whether it can build: docker may be there without its daemon or without buildx."""
        asked = [["info"], ["buildx", "version"]] if self.name == "docker" else [["info"]]
        return shutil.which(self.name) is not None and all(
            self._succeeds(*words) for words in asked
        )

    def _succeeds(self, *arguments: str) -> bool:
        done = subprocess.run([self.name, *arguments], capture_output=True, check=False)  # noqa: S603  our own command
        return done.returncode == 0


def find_engine(name: str | None = None) -> Engine:
    """Return the engine of that name, or the first that is installed and answers. Raises ImageError."""
    if name is not None and name not in ENGINES:
        raise ImageError(f"unknown engine {name!r}: there are {', '.join(ENGINES)}")
    for candidate in (name,) if name is not None else ENGINES:
        engine = Engine(name=candidate)
        if engine.answers():
            return engine
    raise ImageError(
        f"no container engine ({name or ', '.join(ENGINES)}) is installed and running: "
        "install one of them, or start its daemon"
    )


_VERB = {"docker": ["buildx", "build"], "podman": ["build"], "buildah": ["build"]}
_UNITS = {"B": 1, "KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9}
