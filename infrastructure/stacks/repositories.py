"""The image repositories, shared by all stages of an account and region."""

from __future__ import annotations

from typing import Any

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure.functions import BASE_REPOSITORY, WORKER_REPOSITORY, repository_name

CACHE_TAG_PREFIX = "cache"
KEPT_IMAGES = 100


class RepositoriesStack(Stack):
    """One repository an image. Tags never move, every push is scanned, old images are forgotten."""

    def __init__(
        self, scope: Construct, construct_id: str, *, functions: tuple[str, ...], **kwargs: Any
    ) -> None:
        """Create the repositories of the base, the worker and each function."""
        super().__init__(
            scope, construct_id, description="plexus-scoring: image repositories", **kwargs
        )
        self.base = self._repository("Base", BASE_REPOSITORY)
        self.worker = self._repository("Worker", WORKER_REPOSITORY)
        self.functions = {
            name: self._repository(
                "".join(part.capitalize() for part in name.split("_")), repository_name(name)
            )
            for name in functions
        }
        for repository in self.functions.values():
            # Lambda pulls with its own principal, at deployment and again whenever it optimises the image.
            repository.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="LambdaPulls",
                    principals=[iam.ServicePrincipal("lambda.amazonaws.com")],
                    actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                    conditions={
                        "ArnLike": {
                            "aws:SourceArn": self.format_arn(
                                service="lambda",
                                resource="function",
                                resource_name="plexus-scoring-*",
                                arn_format=ArnFormat.COLON_RESOURCE_NAME,
                            )
                        }
                    },
                )
            )

    def _repository(self, construct_id: str, name: str) -> ecr.Repository:
        return ecr.Repository(
            self,
            construct_id,
            repository_name=name,
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE_WITH_EXCLUSION,
            image_tag_mutability_exclusion_filters=[
                # The layer cache is the one tag that must move; nothing deploys it.
                ecr.ImageTagMutabilityExclusionFilter.wildcard(f"{CACHE_TAG_PREFIX}*")
            ],
            encryption=ecr.RepositoryEncryption.AES_256,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                ecr.LifecycleRule(
                    description="untagged layers of replaced caches",
                    tag_status=ecr.TagStatus.UNTAGGED,
                    max_image_age=Duration.days(7),
                    rule_priority=1,
                ),
                ecr.LifecycleRule(
                    description="the way back is this many commits long",
                    tag_status=ecr.TagStatus.ANY,
                    max_image_count=KEPT_IMAGES,
                    rule_priority=2,
                ),
            ],
        )
