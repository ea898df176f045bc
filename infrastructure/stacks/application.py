"""One stage of the service: queues, table, bucket, functions, alarms and, where configured, ECS services."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Stack, Tags
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure.config.functions import OTHER_FUNCTIONS
from infrastructure.config.model import FunctionConfig, StageConfig
from infrastructure.constructs.alarms import METRICS_NAMESPACE, Alarms
from infrastructure.constructs.canary import Canary
from infrastructure.constructs.container_function import ContainerFunction
from infrastructure.constructs.container_service import (
    API_PORT,
    DRAIN_SECONDS,
    HEALTH_PORT,
    ApiEntrance,
    ContainerService,
    ServiceCluster,
    scale_with_queue,
)
from infrastructure.constructs.dashboard import ServiceDashboard
from infrastructure.constructs.encryption import EncryptedLogs
from infrastructure.constructs.event_source import feed
from infrastructure.constructs.jobs_table import JobsTable
from infrastructure.constructs.models import grant_models
from infrastructure.constructs.plexus_api import grant_plexus_api
from infrastructure.constructs.queues import Queues
from infrastructure.constructs.secret import ServiceSecret
from infrastructure.constructs.storage import AttachmentsBucket
from infrastructure.constructs.sweep_schedule import SweepSchedule
from infrastructure.functions import SCORING, SWEEPER


class ApplicationStack(Stack):
    """Everything that a stage needs at run time, and who may do what with it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        commit: str,
        functions: tuple[str, ...],
        **kwargs: Any,
    ) -> None:
        """Create the stage's resources."""
        super().__init__(
            scope,
            construct_id,
            description=f"plexus-scoring, stage {config.name}",
            termination_protection=config.retain_data,
            **kwargs,
        )
        config.check()
        self._config = config
        self._commit = commit
        self.logs = EncryptedLogs(self, "Logs", config=config)
        self.queues = Queues(self, "Queues", config=config)
        self.jobs = JobsTable(self, "Jobs", config=config)
        self.attachments = AttachmentsBucket(self, "Attachments", config=config)
        self.secret = ServiceSecret(self, "Secret", config=config, key=self.logs.key)
        self._environment = self._common_environment()

        self.functions = {name: self._function(name, _size(config, name)) for name in functions}
        scoring, sweeper = self.functions[SCORING], self.functions[SWEEPER]
        feed(scoring.alias, self.queues.request, config.events)
        SweepSchedule(self, "Sweep", alias=sweeper.alias, every_minutes=config.sweep_every_minutes)
        alarms = Alarms(
            self,
            "Alarms",
            config=config,
            queues=self.queues,
            scoring=scoring.alias,
            sweeper=sweeper.alias,
            key=self.logs.key,
        )
        ServiceDashboard(
            self,
            "Overview",
            config=config,
            queues=self.queues,
            scoring=scoring.alias,
            alarms=alarms,
        )
        Canary(
            self,
            "Canary",
            alias=scoring.alias,
            deployment=config.deployment,
            alarms=[alarms.errors, alarms.failed_jobs],
        )
        self._services()
        self._outputs()
        Tags.of(self).add("service", "plexus-scoring")
        Tags.of(self).add("stage", config.name)

    def _common_environment(self) -> dict[str, str]:
        """Return the settings of every process (see ``docs/settings.md``); no secret is among them."""
        config = self._config
        environment = {
            "PLEXUS_ENVIRONMENT": config.name,
            "PLEXUS_ACCOUNT_KEY": config.account_key,
            "PLEXUS_SECRET_ARN": self.secret.secret.secret_arn,
            "PLEXUS_SCORING_MODE": config.mode,
            "PLEXUS_STORE": "dynamodb",
            "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL": self.queues.request.queue_url,
            "PLEXUS_RESPONSE_WORKER_QUEUE_URL": self.queues.response.queue_url,
            "PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL": self.queues.request_dead_letters.queue_url,
            "PLEXUS_JOBS_TABLE_NAME": self.jobs.table.table_name,
            "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": self.attachments.bucket.bucket_name,
            "PLEXUS_METRICS_NAMESPACE": METRICS_NAMESPACE,
            "SCORECARD_CACHE_DIR": "/tmp/scorecards",  # noqa: S108  Lambda's one writable folder
        }
        if config.retention_days is not None:
            environment["PLEXUS_RETENTION_DAYS"] = str(config.retention_days)
        if config.plexus is not None:
            environment |= {
                "PLEXUS_STORE": "plexus_api",
                "PLEXUS_LEASE_STORE": "dynamodb",
                "PLEXUS_API_URL": config.plexus.api_url,
            }
            if config.plexus.api_arn is not None:
                environment |= {
                    "PLEXUS_GRAPHQL_AUTH_MODE": "iam",
                    "PLEXUS_API_REGION": config.plexus.api_arn.split(":")[3],
                }
        return environment

    def _function(self, name: str, size: FunctionConfig) -> ContainerFunction:
        function = ContainerFunction(
            self,
            "".join(part.capitalize() for part in name.split("_")),
            name=name,
            stage=self._config,
            size=size,
            commit=self._commit,
            environment=self._environment,
            logs=self.logs,
        )
        # A retry of work that no queue stands behind (direct, S3, SNS) goes to the request queue.
        self._grant(function.role, answers=name == SCORING, asks=True, writes=name != SWEEPER)
        if name == SWEEPER:
            function.role.add_to_policy(
                iam.PolicyStatement(
                    sid="Look",
                    actions=["sqs:GetQueueAttributes"],
                    resources=[self.queues.request.queue_arn],
                )
            )
        return function

    def _grant(self, role: iam.Role, *, answers: bool, asks: bool, writes: bool = True) -> None:
        """Give what it uses: the store, which it may only read unless it `writes`; and the queues.

        The request queue if it `asks`; if it `answers`, what scoring needs.
        """
        self.jobs.grant(role, writes=writes)
        self.secret.grant(role)
        plexus = self._config.plexus
        if plexus is not None and plexus.api_arn is not None:
            grant_plexus_api(role, plexus.api_arn)
        sends = [self.queues.request] if asks else []
        if answers:
            self.attachments.grant(role, also_read=self._config.item_buckets)
            role.add_to_policy(
                iam.PolicyStatement(
                    sid="Requests",
                    actions=[
                        "sqs:ChangeMessageVisibility",
                        "sqs:DeleteMessage",
                        "sqs:GetQueueAttributes",
                        "sqs:ReceiveMessage",
                    ],
                    resources=[self.queues.request.queue_arn],
                )
            )
            sends += [self.queues.response, self.queues.request_dead_letters]
            grant_models(role, self._config.bedrock_models)
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Send",
                actions=["sqs:SendMessage"],
                resources=[queue.queue_arn for queue in sends],
            )
        )

    def _services(self) -> None:
        config = self._config
        if config.worker is None and config.api is None:
            return
        cluster = ServiceCluster(self, "Cluster", stage=config, logs=self.logs)
        if config.worker is not None:
            worker = ContainerService(
                self,
                "Worker",
                cluster=cluster,
                size=config.worker,
                commit=self._commit,
                command=["worker", "--transport", "sqs"],
                environment={
                    **self._environment,
                    "PLEXUS_HEALTH_PORT": str(HEALTH_PORT),
                    "PLEXUS_DRAIN_SECONDS": str(DRAIN_SECONDS),
                },
                port=HEALTH_PORT,
            )
            self._grant(worker.role, answers=True, asks=False)
            scale_with_queue(worker, self.queues.request)
        if config.api is not None:
            api = ContainerService(
                self,
                "Api",
                cluster=cluster,
                size=config.api.tasks,
                commit=self._commit,
                command=["api", "--host", "0.0.0.0", "--port", str(API_PORT)],  # noqa: S104  behind the balancer
                environment=self._environment,
                port=API_PORT,
            )
            self._grant(api.role, answers=False, asks=True)
            ApiEntrance(self, "Entrance", cluster=cluster, service=api, config=config.api)

    def _outputs(self) -> None:
        for name, value in {
            "RequestQueueUrl": self.queues.request.queue_url,
            "RequestDeadLetterQueueUrl": self.queues.request_dead_letters.queue_url,
            "ResponseQueueUrl": self.queues.response.queue_url,
            "JobsTableName": self.jobs.table.table_name,
            "AttachmentsBucketName": self.attachments.bucket.bucket_name,
            "SecretArn": self.secret.secret.secret_arn,
            "ScoringFunction": self.functions[SCORING].function.function_name,
        }.items():
            CfnOutput(self, name, value=value)


def _size(config: StageConfig, function: str) -> FunctionConfig:
    if function == SCORING:
        return config.scoring
    if function == SWEEPER:
        return config.sweeper
    return OTHER_FUNCTIONS.get(function, config.other_function)
