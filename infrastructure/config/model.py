"""What a stage can configure, and AWS's limits on it. Values are in `infrastructure.config.stages`.

Limits: AWS Lambda quotas; event source mapping parameters of the Lambda API reference; Amazon SQS quotas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infrastructure.config.errors import ConfigError, require_range
from infrastructure.config.plexus import PlexusConfig, check_bucket_name

LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827)
DEPLOYMENTS = (
    "all_at_once",
    "canary_10_percent_5_minutes",
    "canary_10_percent_15_minutes",
    "linear_10_percent_every_1_minute",
)
FARGATE_MEMORY_MIB = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
API_COMMAND = Path(__file__).resolve().parents[2] / "src/plexus_scoring/cli/api.py"
MOST_UNWINDOWED_RECORDS = 10
VISIBILITY_TIMEOUTS = 6  # AWS: a queue's visibility timeout is at least six function timeouts


@dataclass(frozen=True, kw_only=True)
class FunctionConfig:
    """Size of a function. Memory in MB (CPU grows with it), timeout in seconds."""

    memory_mb: int
    timeout_seconds: int
    ephemeral_storage_mb: int = 512
    reserved_concurrency: int | None = None

    def check(self, where: str) -> None:
        """Check AWS's limits. Raises ConfigError."""
        require_range(f"{where}.memory_mb", self.memory_mb, 128, 10_240, "MB")
        require_range(f"{where}.timeout_seconds", self.timeout_seconds, 1, 900, "s")
        require_range(f"{where}.ephemeral_storage_mb", self.ephemeral_storage_mb, 512, 10_240, "MB")
        if self.reserved_concurrency is not None:
            require_range(f"{where}.reserved_concurrency", self.reserved_concurrency, 0, 10_000)


@dataclass(frozen=True, kw_only=True)
class EventSourceConfig:
    """How the request queue feeds the function.

    Attributes:
        batch_size: Most records of one invocation.
        window_seconds: Longest wait for a batch to fill; needed for batches of more than ten.
        max_concurrency: Most concurrent invocations that this queue causes.
    """

    batch_size: int = 10
    window_seconds: int = 0
    max_concurrency: int = 10

    def check(self, where: str) -> None:
        """Check AWS's limits. Raises ConfigError."""
        require_range(f"{where}.batch_size", self.batch_size, 1, 10_000)
        require_range(f"{where}.window_seconds", self.window_seconds, 0, 300, "s")
        require_range(f"{where}.max_concurrency", self.max_concurrency, 2, 1000)
        if self.batch_size > MOST_UNWINDOWED_RECORDS and self.window_seconds < 1:
            raise ConfigError(
                f"{where}.batch_size is {self.batch_size}: more than {MOST_UNWINDOWED_RECORDS} "
                f"needs {where}.window_seconds of at least 1"
            )


@dataclass(frozen=True, kw_only=True)
class AlarmConfig:
    """When someone is called, and who: by e-mail to `email`, or by the SNS topic `topic_arn`; one of them."""

    oldest_message_seconds: int = 900
    error_percent: float = 5.0
    failed_jobs_percent: float = 5.0
    throttles: int = 10
    duration_percent_of_timeout: float = 90.0
    cost_usd_per_hour: float = 20.0
    email: str | None = None
    topic_arn: str | None = None

    def check(self, where: str) -> None:
        """Check that the thresholds can fire and that somebody hears of it. Raises ConfigError."""
        require_range(f"{where}.oldest_message_seconds", self.oldest_message_seconds, 1, 1_209_600)
        require_range(f"{where}.error_percent", self.error_percent, 0, 100, "%")
        require_range(f"{where}.failed_jobs_percent", self.failed_jobs_percent, 0, 100, "%")
        require_range(f"{where}.throttles", self.throttles, 1, 1_000_000)
        require_range(
            f"{where}.duration_percent_of_timeout", self.duration_percent_of_timeout, 1, 100, "%"
        )
        require_range(f"{where}.cost_usd_per_hour", self.cost_usd_per_hour, 0.01, 1_000_000, "USD")
        if (self.email is None) == (self.topic_arn is None):
            raise ConfigError(
                f"{where}: nobody would be called: set email or topic_arn, one of them"
            )
        if self.email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", self.email):
            raise ConfigError(f"{where}.email is {self.email!r}: must be an e-mail address")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Size and number of an ECS Fargate service's tasks. CPU in CPU units (1024 = one vCPU)."""

    cpu: int = 512
    memory_mib: int = 1024
    least_tasks: int = 0
    most_tasks: int = 10

    def check(self, where: str) -> None:
        """Check Fargate's sizes. Raises ConfigError."""
        sizes = FARGATE_MEMORY_MIB.get(self.cpu)
        if sizes is None:
            raise ConfigError(
                f"{where}.cpu is {self.cpu}: must be one of {list(FARGATE_MEMORY_MIB)}"
            )
        if self.memory_mib not in sizes:
            raise ConfigError(
                f"{where}.memory_mib is {self.memory_mib}: "
                f"with cpu {self.cpu} it must be {sizes[0]} to {sizes[-1]} MiB in Fargate's steps"
            )
        require_range(f"{where}.most_tasks", self.most_tasks, 1, 5000)
        require_range(f"{where}.least_tasks", self.least_tasks, 0, self.most_tasks)


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """The REST API behind a load balancer.

    Attributes:
        certificate_arn: ACM certificate of the name that users type; the API is served on HTTPS only.
        internal: Reachable from within the VPC only.
    """

    certificate_arn: str
    tasks: TaskConfig = field(default_factory=lambda: TaskConfig(least_tasks=2, most_tasks=4))
    internal: bool = True

    def check(self, where: str) -> None:
        """Check the certificate, the sizes, and that the program has an API. Raises ConfigError."""
        if not re.match(r"arn:aws[a-z-]*:acm:", self.certificate_arn):
            raise ConfigError(f"{where}.certificate_arn is not the ARN of an ACM certificate")
        self.tasks.check(f"{where}.tasks")
        if not API_COMMAND.is_file():
            raise ConfigError(
                f"{where} cannot be deployed: this version of plexus-scoring has no command `api`: leave it None"
            )


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Everything in which one stage may differ from another.

    Attributes:
        name: Part of every name in AWS: ``plexus-scoring-{name}``.
        branch: A push to it deploys the stage.
        account: AWS account and
        region: region; None deploys to where the pipeline runs.
        account_key: Plexus account whose jobs are worked on.
        plexus: Plexus's own API, if it has the jobs; None: the stage's table has them.
        architecture: Of images and functions.
        max_receive_count: Receives after which SQS moves a message to the dead-letter queue. SQS counts those of an
            outage as well: with delays that grow to ten minutes, 100 of them take more than eight hours.
        deployment: How traffic moves to a new version.
        retain_data: Keep table, bucket and secret when the stack is deleted.
        retention_days: Days after its end for which a job and its result are kept; None keeps them.
        attachments_expire_days: Days for which traces and logs are kept; None keeps them.
        item_buckets: Names of buckets, beside the stage's own, whose objects requests may name as items.
        secret_arn: An existing secret's full ARN; None creates ``plexus/{name}/config``.
        secret_key_arn: The customer's KMS key that encrypts an existing secret; None: AWS's own key.
        bedrock_models: Models on Amazon Bedrock that scorecards name: ids of models, or of inference profiles
            (``eu.anthropic.…``). No other one may be asked.
        approval: A person releases each deployment.
        worker: Settings of the optional ECS worker; None leaves it out.
        api: Settings of the optional REST API; None leaves it out.
    """

    name: str
    branch: str
    account: str | None = None
    region: str | None = None
    account_key: str = "default"
    plexus: PlexusConfig | None = None
    mode: Literal["real", "mock"] = "real"
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    base_image: Literal["slim", "full"] = "slim"
    scoring: FunctionConfig = FunctionConfig(memory_mb=2048, timeout_seconds=300)
    sweeper: FunctionConfig = FunctionConfig(memory_mb=512, timeout_seconds=60)
    other_function: FunctionConfig = FunctionConfig(memory_mb=1024, timeout_seconds=60)
    sweep_every_minutes: int = 5
    events: EventSourceConfig = EventSourceConfig()
    max_receive_count: int = 100
    deployment: str = "all_at_once"
    retain_data: bool = True
    log_retention_days: int = 30
    retention_days: int | None = None
    attachments_expire_days: int | None = None
    item_buckets: tuple[str, ...] = ()
    secret_arn: str | None = None
    secret_key_arn: str | None = None
    bedrock_models: tuple[str, ...] = ()
    alarms: AlarmConfig = AlarmConfig()
    approval: bool = False
    worker: TaskConfig | None = None
    api: ApiConfig | None = None

    @property
    def prefix(self) -> str:
        """Return what every name of this stage begins with."""
        return f"plexus-scoring-{self.name}"

    @property
    def visibility_seconds(self) -> int:
        """Return the request queue's visibility timeout."""
        return VISIBILITY_TIMEOUTS * self.scoring.timeout_seconds

    def check(self) -> None:
        """Check everything against AWS's limits.

        Raises:
            ConfigError: the first value that AWS would refuse, or that would lose messages.
        """
        where = f"stage {self.name!r}: "
        self._check_names(where)
        self._check_limits(where)
        for part in (
            "scoring",
            "sweeper",
            "other_function",
            "events",
            "alarms",
            "plexus",
            "worker",
            "api",
        ):
            value = getattr(self, part)
            if value is not None:
                value.check(where + part)

    def _check_names(self, where: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", self.name):
            raise ConfigError(
                f"{where}name must be 1 to 20 of a-z, 0-9 and -, beginning with a letter"
            )
        if not self.branch:
            raise ConfigError(f"{where}branch is empty: name the branch whose pushes deploy it")
        if (self.account is None) != (self.region is None):
            raise ConfigError(f"{where}set account and region both, or neither")
        if self.account is not None and not re.fullmatch(r"\d{12}", self.account):
            raise ConfigError(f"{where}account must be 12 digits")
        self._check_access(where)
        if self.plexus is not None and self.account_key == StageConfig.account_key:
            raise ConfigError(
                f"{where}account_key is {self.account_key!r}: with plexus, name the key of your account there"
            )
        for bucket in self.item_buckets:
            check_bucket_name(f"{where}item_buckets", bucket)

    def _check_access(self, where: str) -> None:
        if self.secret_arn is not None and not re.match(
            r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-\w{6}$", self.secret_arn
        ):
            raise ConfigError(
                f"{where}secret_arn must be a secret's full ARN, six characters at its end"
            )
        if self.secret_key_arn is not None and not re.fullmatch(
            r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[0-9a-f-]+", self.secret_key_arn
        ):
            raise ConfigError(f"{where}secret_key_arn must be a KMS key's full ARN, not an alias")
        if self.secret_key_arn is not None and self.secret_arn is None:
            raise ConfigError(f"{where}secret_key_arn without secret_arn: name the secret as well")
        for model in self.bedrock_models:
            if not re.fullmatch(r"[a-z0-9][a-zA-Z0-9.:_-]+", model) or "." not in model:
                raise ConfigError(
                    f"{where}bedrock_models: {model!r} is no model's id, such as amazon.nova-pro-v1:0"
                )

    def _check_limits(self, where: str) -> None:
        require_range(f"{where}sweep_every_minutes", self.sweep_every_minutes, 1, 1440, "minutes")
        require_range(f"{where}max_receive_count", self.max_receive_count, 5, 1000)
        if self.retention_days is not None:
            require_range(f"{where}retention_days", self.retention_days, 1, 36_500, "days")
        if self.attachments_expire_days is not None:
            require_range(
                f"{where}attachments_expire_days", self.attachments_expire_days, 1, 36_500, "days"
            )
            if self.plexus is not None and self.plexus.attachments_bucket is not None:
                raise ConfigError(
                    f"{where}attachments_expire_days does not reach Plexus's bucket: "
                    "leave it None, or plexus.attachments_bucket"
                )
        if self.log_retention_days not in LOG_RETENTION_DAYS:
            raise ConfigError(
                f"{where}log_retention_days is {self.log_retention_days}: "
                f"must be one of {list(LOG_RETENTION_DAYS)}"
            )
        if self.deployment not in DEPLOYMENTS:
            raise ConfigError(
                f"{where}deployment is {self.deployment!r}: must be one of {', '.join(DEPLOYMENTS)}"
            )


@dataclass(frozen=True, kw_only=True)
class DeliveryConfig:
    """Where the source lies and how the pipelines read it.

    Attributes:
        repository: ``owner/name`` on GitHub.
        connection_arn: The CodeConnections connection that may read it.
        commit: The commit being deployed; names images and versions.
        plexus_ref: Commit of Plexus in the full base image.
    """

    repository: str
    connection_arn: str
    commit: str
    plexus_ref: str = ""

    def check(self) -> None:
        """Check the repository, connection and commit. Raises ConfigError."""
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise ConfigError(
                f"repository is {self.repository!r}: set context `repository` in cdk.json to owner/name"
            )
        if not re.fullmatch(
            r"arn:aws[a-z-]*:code(connections|star-connections):[a-z0-9-]+:\d{12}:connection/[\w-]+",
            self.connection_arn,
        ):
            raise ConfigError(
                "connection ARN is missing or malformed: create a CodeConnections connection to GitHub and "
                "set context `connection_arn` in cdk.json to its ARN"
            )
        if not re.fullmatch(r"[0-9a-f]{40}", self.commit):
            raise ConfigError(f"commit is {self.commit!r}: must be 40 hexadecimal digits")
