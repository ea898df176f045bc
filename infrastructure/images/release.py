"""Build what is not in the registry yet, push it, and write each image's digest where the stacks look for it.

Run by the pipelines and by GitHub Actions: ``python -m infrastructure.images.release --stage staging base functions``.
The commit comes from ``PLEXUS_COMMIT``. Running it again for a commit builds nothing and writes the same digests,
which is also the way back: release an older commit again.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config.errors import ConfigError
from infrastructure.config.model import StageConfig
from infrastructure.config.stages import stage
from infrastructure.functions import (
    BASE_REPOSITORY,
    ROOT,
    WORKER_REPOSITORY,
    digest_parameter,
    discover,
    repository_name,
)
from infrastructure.images.build import VARIANTS, base_build, function_build, worker_build
from infrastructure.images.engine import Build, Engine, ImageError, find_engine
from infrastructure.images.inputs import content_tag

KEPT_PARAMETERS = 50
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}


class Release:
    """One commit's images for one stage.

    Args:
        config: The stage.
        commit: The commit, which is also the images' tag.
        variant: Of the base: slim or full.
        ecr: boto3's client.
        ssm: boto3's client.
        engine: Builds the images.
        push: Pushes a reference; by default the engine's own push.
    """

    def __init__(
        self,
        *,
        config: StageConfig,
        commit: str,
        variant: str,
        ecr: Any,
        ssm: Any,
        engine: Engine,
        push: Callable[[str], object] | None = None,
    ) -> None:
        self._config = config
        self._commit = commit
        self._variant = variant
        self._ecr = ecr
        self._ssm = ssm
        self._engine = dataclasses.replace(engine, platform=PLATFORMS[config.architecture])
        self._push = push or (lambda reference: self._engine.run("push", reference))
        self._plexus_ref = os.environ.get("PLEXUS_REF", "") if variant == "full" else ""

    def base(self) -> str:
        """Build and push the base unless its content is there; return its tag."""
        settings = (self._variant, self._config.architecture, self._plexus_ref)
        tag = content_tag(ROOT, settings)
        if self.digest(BASE_REPOSITORY, tag) is None:
            reference = self._reference(BASE_REPOSITORY, tag)
            arguments = {"REVISION": self._commit, "PLEXUS_REF": self._plexus_ref}
            if self._config.architecture == "arm64":
                arguments["BUILD_IMAGE"] = "quay.io/pypa/manylinux_2_28_aarch64"
            cache = f"cache-{self._variant}-{self._config.architecture}"
            engine = self._engine.with_cache(self._reference(BASE_REPOSITORY, cache))
            engine.build(base_build(reference, variant=self._variant, arguments=arguments))
            self._push(reference)
        return tag

    def functions(self, names: Sequence[str]) -> None:
        """Build and push each function on the base, and write down its digest."""
        base = self._reference(BASE_REPOSITORY, self.base())
        for name in names:
            repository = repository_name(name)
            reference = self._reference(repository, self._commit)
            build = function_build(name, reference, base=base, revision=self._commit)
            self._publish(name, repository, build)

    def worker(self) -> None:
        """Build and push the worker, and write down its digest."""
        reference = self._reference(WORKER_REPOSITORY, self._commit)
        build = worker_build(reference, arguments={"REVISION": self._commit})
        self._publish("worker", WORKER_REPOSITORY, build)

    def digest(self, repository: str, tag: str) -> str | None:
        """Return the digest that a tag has in the registry; None if there is no such tag."""
        try:
            answer = self._ecr.describe_images(
                repositoryName=repository, imageIds=[{"imageTag": tag}]
            )
        except self._ecr.exceptions.ImageNotFoundException:
            return None
        digest: str = answer["imageDetails"][0]["imageDigest"]
        return digest

    def _publish(self, image: str, repository: str, build: Build) -> None:
        digest = self.digest(repository, self._commit)
        if digest is None:
            self._engine.build(build)
            self._push(build.tag)
            digest = self.digest(repository, self._commit)
        if digest is None:
            raise ImageError(f"{build.tag} was pushed, but the registry does not know it")
        self._ssm.put_parameter(
            Name=digest_parameter(self._config.name, image, self._commit),
            Value=digest,
            Type="String",
            Description=f"Digest of {repository} at this commit",
            Overwrite=True,
        )
        self._forget_old_parameters(image)

    def _forget_old_parameters(self, image: str) -> None:
        """Keep the newest parameters: an account has 10,000 of them."""
        path = digest_parameter(self._config.name, image, "").rstrip("/")
        pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=path)
        found = [parameter for page in pages for parameter in page["Parameters"]]
        found.sort(key=lambda parameter: parameter["LastModifiedDate"], reverse=True)
        old = [parameter["Name"] for parameter in found[KEPT_PARAMETERS:]]
        for start in range(0, len(old), 10):
            self._ssm.delete_parameters(Names=old[start : start + 10])

    def _reference(self, repository: str, tag: str) -> str:
        (found,) = self._ecr.describe_repositories(repositoryNames=[repository])["repositories"]
        return f"{found['repositoryUri']}:{tag}"


def login(engine: Engine, ecr: Any) -> None:
    """Let the engine push to the account's registry. Raises ImageError."""
    (token,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    host = token["proxyEndpoint"].removeprefix("https://")
    try:
        subprocess.run(  # noqa: S603  our own command; the password goes by standard input
            [engine.name, "login", "--username", user, "--password-stdin", host],
            input=password,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise ImageError(f"{engine.name} cannot log in to {host} (see above)") from error


def _check_commit(commit: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ConfigError("PLEXUS_COMMIT must be the full commit, 40 hexadecimal digits")


def main(arguments: Sequence[str] | None = None) -> int:
    """Release; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=["base", "functions", "worker"])
    parser.add_argument("--stage", required=True)
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="slim")
    options = parser.parse_args(arguments)
    commit = os.environ.get("PLEXUS_COMMIT", "")
    try:
        config = stage(options.stage)
        _check_commit(commit)
        engine = find_engine()
        ecr = boto3.client("ecr")
        login(engine, ecr)
        release = Release(
            config=config,
            commit=commit,
            variant=options.variant,
            ecr=ecr,
            ssm=boto3.client("ssm"),
            engine=engine,
        )
        if "base" in options.what:
            release.base()
        if "functions" in options.what:
            release.functions(discover())
        if "worker" in options.what:
            release.worker()
    except (ConfigError, ImageError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
