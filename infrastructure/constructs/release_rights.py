"""What `infrastructure.images.release` may do, whoever runs it: a pipeline's image step or GitHub Actions."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from infrastructure.functions import digest_parameter

LOGIN = "ecr:GetAuthorizationToken"
LOOK = [
    "ecr:BatchGetImage",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:GetDownloadUrlForLayer",
]
PUSH = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
]


def release_statements(
    stack: Stack, stage: str, *, push: Sequence[str], pull: Sequence[str] = ()
) -> list[iam.PolicyStatement]:
    """Return the statements to push to and pull from these ECR repositories, and to write a stage's digests."""
    return [
        iam.PolicyStatement(sid="Login", actions=[LOGIN], resources=["*"]),
        iam.PolicyStatement(
            sid="Look", actions=LOOK, resources=_repositories(stack, [*push, *pull])
        ),
        iam.PolicyStatement(sid="Push", actions=PUSH, resources=_repositories(stack, push)),
        iam.PolicyStatement(
            sid="Digests",
            actions=["ssm:DeleteParameters", "ssm:GetParametersByPath", "ssm:PutParameter"],
            resources=[
                stack.format_arn(service="ssm", resource="parameter", resource_name=name)
                for name in digest_patterns(stage)
            ],
        ),
    ]


def digest_patterns(stage: str) -> tuple[str, str]:
    """Return the names of a stage's digest parameters and of the paths that they are listed by."""
    return (
        digest_parameter(stage, "*", "*").lstrip("/"),
        digest_parameter(stage, "*", "").strip("/"),
    )


def _repositories(stack: Stack, names: Sequence[str]) -> list[str]:
    return [
        stack.format_arn(service="ecr", resource="repository", resource_name=name) for name in names
    ]
