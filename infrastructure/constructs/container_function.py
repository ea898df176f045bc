"""A function from a container image, deployed by digest behind an alias."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, Fn, RemovalPolicy, Size
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infrastructure import nag
from infrastructure.config.model import FunctionConfig, StageConfig
from infrastructure.constructs.encryption import EncryptedLogs
from infrastructure.functions import digest_parameter, repository_name

ALIAS = "live"


class ContainerFunction(Construct):
    """A function with its own role and log group; traffic goes to its alias ``live``.

    The image's digest stands in an SSM parameter named after the commit, written by the pipeline when it pushed
    the image. So one commit is one template, one version and one image, and none of them can change later.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        stage: StageConfig,
        size: FunctionConfig,
        commit: str,
        environment: Mapping[str, str],
        logs: EncryptedLogs,
    ) -> None:
        """Create the function `name` (a folder of ``lambda_functions/``), its version and its alias."""
        super().__init__(scope, construct_id)
        function_name = f"{stage.prefix}-{name.replace('_', '-')}"
        group = logs.group(construct_id, f"/aws/lambda/{function_name}")
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"What {function_name} may do",
        )
        group.grant_write(self.role)
        repository = ecr.Repository.from_repository_name(self, "Repository", repository_name(name))
        digest = ssm.StringParameter.value_for_string_parameter(
            self, digest_parameter(stage.name, name, commit)
        )
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=function_name,
            description=f"plexus-scoring: {name}",
            code=lambda_.DockerImageCode.from_ecr(repository, tag_or_digest=digest),
            architecture=(
                lambda_.Architecture.ARM_64
                if stage.architecture == "arm64"
                else lambda_.Architecture.X86_64
            ),
            memory_size=size.memory_mb,
            timeout=Duration.seconds(size.timeout_seconds),
            ephemeral_storage_size=Size.mebibytes(size.ephemeral_storage_mb),
            reserved_concurrent_executions=size.reserved_concurrency,
            role=self.role,
            log_group=group,
            tracing=lambda_.Tracing.ACTIVE,
            # The commit makes every deployment a version of its own: Lambda refuses to publish an unchanged one.
            environment={**environment, "PLEXUS_SCORING_REVISION": commit},
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.RETAIN),
        )
        resource = self.function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        # The CDK cannot tell a digest from a tag while it is a token, and would join it with ":".
        resource.add_property_override(
            "Code.ImageUri", Fn.join("", [repository.repository_uri, "@", digest])
        )
        self.alias = lambda_.Alias(
            self, "Live", alias_name=ALIAS, version=self.function.current_version
        )
        nag.acknowledge(
            self.role,
            "X-Ray's PutTraceSegments and PutTelemetryRecords take no resource.",
            "IAM5[Resource::*]",
        )
