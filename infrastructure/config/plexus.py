"""A Plexus that has the jobs of a stage."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infrastructure.config.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PlexusConfig:
    """Jobs, items, scorecards and results stay in Plexus's own API; the stage's table holds leases and attempts.

    Attributes:
        api_url: Its GraphQL endpoint.
        api_arn: ARN of the AppSync API, if it takes AWS credentials: calls are signed with the process's role, and the
            role may call the operations that the service uses. None: PLEXUS_API_KEY in the stage's secret.
        attachments_bucket: Name of Plexus's bucket of score result attachments, where its dashboard looks for traces
            and logs. None: a bucket of the stage's own, which the dashboard does not read.
    """

    api_url: str
    api_arn: str | None = None
    attachments_bucket: str | None = None

    def check(self, where: str) -> None:
        """Check the three names. Raises ConfigError."""
        if not re.match(r"https://[^/\s]+/", self.api_url):
            raise ConfigError(
                f"{where}.api_url is {self.api_url!r}: must be https://HOST/…, as Plexus's outputs give it"
            )
        if self.api_arn is not None and not re.fullmatch(
            r"arn:aws[a-z-]*:appsync:[a-z0-9-]+:\d{12}:apis/[a-z0-9]+", self.api_arn
        ):
            raise ConfigError(f"{where}.api_arn is not the ARN of an AppSync API")
        if self.attachments_bucket is not None:
            check_bucket_name(f"{where}.attachments_bucket", self.attachments_bucket)


def check_bucket_name(where: str, name: str) -> None:
    """Check that S3 could have a bucket of this name. Raises ConfigError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ConfigError(f"{where}: {name!r} is no bucket's name")
