"""What the security rules find in a pipeline that the CDK's pipelines library writes, and why it stands."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_s3 as s3

from infrastructure import nag
from infrastructure.constructs.release_rights import digest_patterns


def acknowledge_library_grants(stack: Stack, artifacts: s3.Bucket, stage: str) -> None:
    """Accept the library's own grants, each by its exact finding. Our steps add none but the last."""
    bucket = artifacts.node.default_child
    assert isinstance(bucket, s3.CfnBucket)
    nag.acknowledge(
        stack,
        "Written by the CDK: read and write artifacts, in the pipeline's own bucket and with its own key only.",
        "IAM5[Action::s3:Abort*]",
        "IAM5[Action::s3:DeleteObject*]",
        "IAM5[Action::s3:GetBucket*]",
        "IAM5[Action::s3:GetObject*]",
        "IAM5[Action::s3:List*]",
        "IAM5[Action::kms:GenerateDataKey*]",
        "IAM5[Action::kms:ReEncrypt*]",
        f"IAM5[Resource::<{stack.get_logical_id(bucket)}.Arn>/*]",
    )
    for project in stack.node.find_all():
        if not isinstance(project, codebuild.CfnProject):
            continue
        name = stack.get_logical_id(project)
        here = "<AWS::Region>:<AWS::AccountId>"
        nag.acknowledge(
            stack,
            "Written by the CDK: a build project's own log streams and report groups, named by AWS at run time.",
            f"IAM5[Resource::arn:<AWS::Partition>:codebuild:{here}:report-group/<{name}>-*]",
            f"IAM5[Resource::arn:<AWS::Partition>:logs:{here}:log-group:/aws/codebuild/<{name}>:*]",
        )
    nag.acknowledge(
        stack,
        "Written by the CDK: the pipeline updates itself through the bootstrap's roles, which a condition on "
        "their tag names; cloudformation:DescribeStacks and s3:ListBucket take no narrower resource there. "
        "ecr:GetAuthorizationToken takes none at all.",
        "IAM5[Resource::*]",
        "IAM5[Resource::arn:*:iam::<AWS::AccountId>:role/*]",
    )
    parameters = "arn:<AWS::Partition>:ssm:<AWS::Region>:<AWS::AccountId>:parameter"
    nag.acknowledge(
        stack,
        "One parameter an image and commit; the stage's own path bounds them.",
        *(f"IAM5[Resource::{parameters}/{name}]" for name in digest_patterns(stage)),
    )
