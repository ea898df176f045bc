"""The alternative to the pipelines: GitHub Actions deploys, with short-lived credentials and no stored key."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure import nag
from infrastructure.config.model import StageConfig
from infrastructure.constructs.release_rights import digest_patterns, release_statements
from infrastructure.functions import (
    BASE_REPOSITORY,
    WORKER_REPOSITORY,
    repository_name,
)

ISSUER = "token.actions.githubusercontent.com"
QUALIFIER = "hnb659fds"  # of the CDK's default bootstrap


class GithubAccessStack(Stack):
    """One role a stage, which only workflows running for that stage's GitHub environment can assume."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        repository: str,
        stages: list[StageConfig],
        functions: tuple[str, ...],
        **kwargs: Any,
    ) -> None:
        """Create the identity provider and the roles."""
        super().__init__(
            scope, construct_id, description="plexus-scoring: access of GitHub Actions", **kwargs
        )
        provider = iam.CfnOIDCProvider(
            self, "Provider", url=f"https://{ISSUER}", client_id_list=["sts.amazonaws.com"]
        )
        images = [
            BASE_REPOSITORY,
            WORKER_REPOSITORY,
            *(repository_name(name) for name in functions),
        ]
        for config in stages:
            role = iam.Role(
                self,
                config.name.capitalize(),
                role_name=f"{config.prefix}-github",
                description=f"GitHub Actions of {repository} deploy {config.name}",
                max_session_duration=Duration.hours(1),
                assumed_by=iam.WebIdentityPrincipal(
                    provider.attr_arn,
                    {
                        "StringEquals": {
                            f"{ISSUER}:aud": "sts.amazonaws.com",
                            # GitHub's environment carries the branch rule and the approval.
                            f"{ISSUER}:sub": f"repo:{repository}:environment:{config.name}",
                        }
                    },
                ),
            )
            self._grant(role, config, images)
            CfnOutput(self, f"{config.name.capitalize()}RoleArn", value=role.role_arn)

    def _grant(self, role: iam.Role, config: StageConfig, images: list[str]) -> None:
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Deploy",
                actions=["sts:AssumeRole"],
                resources=[
                    self.format_arn(
                        service="iam",
                        region="",
                        resource="role",
                        resource_name=f"cdk-{QUALIFIER}-{kind}-role-{self.account}-{self.region}",
                    )
                    for kind in ("deploy", "file-publishing", "lookup")
                ],
            )
        )
        for statement in release_statements(self, config.name, push=images):
            role.add_to_policy(statement)
        nag.acknowledge(role, "ecr:GetAuthorizationToken takes no resource.", "IAM5[Resource::*]")
        nag.acknowledge(
            role,
            "One parameter an image and commit; the stage's own path bounds them.",
            *(
                f"IAM5[Resource::arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameter/{name}]"
                for name in digest_patterns(config.name)
            ),
        )
