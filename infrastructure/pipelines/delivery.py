"""The pipeline of one stage: a push to its branch becomes a checked, built and deployed version."""

from __future__ import annotations

from typing import Any

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack, pipelines
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_codepipeline as codepipeline
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infrastructure.config.model import DeliveryConfig, StageConfig
from infrastructure.constructs.container_function import ALIAS
from infrastructure.constructs.encryption import EncryptedLogs
from infrastructure.constructs.release_rights import release_statements
from infrastructure.functions import (
    BASE_REPOSITORY,
    SCORING,
    WORKER_REPOSITORY,
    repository_name,
)
from infrastructure.pipelines.exceptions import acknowledge_library_grants
from infrastructure.stacks.stage import ApplicationStage

CDK_CLI_VERSION = "2.1148.1"
PYTHON_VERSION = "3.11"

# The commit names images and versions; every step sees the same one.
COMMIT = 'export PLEXUS_COMMIT="$CODEBUILD_RESOLVED_SOURCE_VERSION"'


class DeliveryPipeline(Stack):
    """Synth, checks, base image (if its inputs changed), images, push, deploy by digest, smoke test.

    Executions queue, so that two pushes never interleave. Where the stage asks for it, a person releases each
    deployment after its images stand.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        delivery: DeliveryConfig,
        functions: tuple[str, ...],
        **kwargs: Any,
    ) -> None:
        """Create the pipeline of `config`'s stage."""
        super().__init__(
            scope,
            construct_id,
            description=f"plexus-scoring: pipeline of {config.name} (branch {config.branch})",
            **kwargs,
        )
        delivery.check()
        self._config = config
        self._delivery = delivery
        self._functions = functions
        self._logs = EncryptedLogs(self, "Logs", config=config)
        self._group = self._logs.group("Builds", f"/plexus-scoring/{config.name}/builds")
        self._source = pipelines.CodePipelineSource.connection(
            delivery.repository, config.branch, connection_arn=delivery.connection_arn
        )
        pipeline = self._pipeline()
        self._add_stage(pipeline)
        pipeline.build_pipeline()
        acknowledge_library_grants(self, self._artifacts, config.name)

    def _pipeline(self) -> pipelines.CodePipeline:
        self._artifacts = s3.Bucket(
            self,
            "Artifacts",
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self._logs.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            server_access_logs_prefix="access/",
            removal_policy=RemovalPolicy.DESTROY,
            lifecycle_rules=[s3.LifecycleRule(id="forget", expiration=Duration.days(30))],
        )
        engine = codepipeline.Pipeline(
            self,
            "Engine",
            pipeline_name=f"{self._config.prefix}-delivery",
            pipeline_type=codepipeline.PipelineType.V2,
            execution_mode=codepipeline.ExecutionMode.QUEUED,
            restart_execution_on_update=True,
            artifact_bucket=self._artifacts,
        )
        return pipelines.CodePipeline(
            self,
            "Pipeline",
            code_pipeline=engine,
            cli_version=CDK_CLI_VERSION,
            publish_assets_in_parallel=False,
            synth=self._step("Synth", ["make setup-infra synth"], output="cdk.out"),
            code_build_defaults=pipelines.CodeBuildOptions(
                build_environment=codebuild.BuildEnvironment(
                    build_image=self._build_image(), compute_type=codebuild.ComputeType.MEDIUM
                ),
                logging=codebuild.LoggingOptions(
                    cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=self._group)
                ),
                partial_build_spec=codebuild.BuildSpec.from_object(
                    {
                        "phases": {
                            "install": {
                                "runtime-versions": {"python": PYTHON_VERSION, "nodejs": 22}
                            }
                        }
                    }
                ),
            ),
        )

    def _add_stage(self, pipeline: pipelines.CodePipeline) -> None:
        config = self._config
        # Privileged, because the image tests build images and run them.
        checks = self._step("Checks", ["make test-in-container"], privileged=True)
        release = (
            "python3 -m venv .venv-release && "
            ".venv-release/bin/pip install --quiet --require-hashes -r requirements/lambda.txt"
        )
        run = f".venv-release/bin/python -m infrastructure.images.release --stage {config.name}"
        base = self._image_step(
            "BaseImage",
            [release, f"{run} --variant {config.base_image} base"],
            push=[BASE_REPOSITORY],
        )
        images = self._image_step(
            "Images",
            [release, f"{run} --variant {config.base_image} functions worker"],
            push=[*(repository_name(name) for name in self._functions), WORKER_REPOSITORY],
            pull=[BASE_REPOSITORY],
        )
        before: list[pipelines.Step] = [checks, base, images]
        if config.approval:
            before.append(
                pipelines.ManualApprovalStep(
                    "Release", comment=f"Deploy this commit to {config.name}?"
                )
            )
        pipeline.add_stage(
            ApplicationStage(
                self,
                "Deploy",
                config=config,
                commit=self._delivery.commit,
                functions=self._functions,
            ),
            pre=pipelines.Step.sequence(before),
            post=[self._smoke_test()],
        )

    def _smoke_test(self) -> pipelines.Step:
        """Invoke the deployed function with an empty event: it polls its queue once, and must not fail."""
        function = f"{self._config.prefix}-{SCORING.replace('_', '-')}"
        invoke = (
            f"aws lambda invoke --function-name {function}:{ALIAS} --payload '{{}}' "
            "--cli-binary-format raw-in-base64-out --log-type Tail answer.json > call.json"
        )
        return self._step(
            "SmokeTest",
            [
                invoke,
                "cat call.json answer.json",
                "jq --exit-status '.FunctionError == null' call.json",
            ],
            statements=[
                iam.PolicyStatement(
                    actions=["lambda:InvokeFunction"],
                    resources=[
                        self.format_arn(
                            service="lambda",
                            resource="function",
                            resource_name=f"{function}:{ALIAS}",
                            arn_format=ArnFormat.COLON_RESOURCE_NAME,
                            account=self._config.account,
                            region=self._config.region,
                        )
                    ],
                )
            ],
        )

    def _image_step(
        self, name: str, commands: list[str], *, push: list[str], pull: list[str] | None = None
    ) -> pipelines.CodeBuildStep:
        statements = release_statements(self, self._config.name, push=push, pull=pull or [])
        environment = {"PLEXUS_REF": self._delivery.plexus_ref}
        return self._step(
            name, commands, statements=statements, privileged=True, environment=environment
        )

    def _step(
        self,
        name: str,
        commands: list[str],
        *,
        output: str | None = None,
        statements: list[iam.PolicyStatement] | None = None,
        privileged: bool = False,
        environment: dict[str, str] | None = None,
    ) -> pipelines.CodeBuildStep:
        return pipelines.CodeBuildStep(
            name,
            input=self._source,
            commands=[COMMIT, *commands],
            primary_output_directory=output,
            role_policy_statements=statements,
            env={"CI": "true", **(environment or {})},
            build_environment=codebuild.BuildEnvironment(
                build_image=self._build_image(),
                compute_type=codebuild.ComputeType.MEDIUM,
                privileged=privileged,
            ),
        )

    def _build_image(self) -> codebuild.IBuildImage:
        # Images are built on the processor they run on: emulation is ten times slower.
        if self._config.architecture == "arm64":
            return codebuild.LinuxArmBuildImage.AMAZON_LINUX_2_STANDARD_3_0
        return codebuild.LinuxBuildImage.STANDARD_7_0
