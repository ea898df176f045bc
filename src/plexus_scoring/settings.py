"""Every environment variable, typed, with its doc string.

`Settings.from_environment` reads them once at start. What is malformed or missing is reported together, in one
message, so that one correction is enough. ``docs/settings.md`` is generated from this module.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.model.job import DEFAULT_ACCOUNT
from plexus_scoring.urls import HTTP, problem_of_url

# Thirty years: "inf" is a number as well, but one that no database's column and no timer can hold.
_LONGEST = 1e9
Positive = Annotated[float, msgspec.Meta(gt=0, le=_LONGEST)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=_LONGEST)]
Count = Annotated[int, msgspec.Meta(ge=1)]


def _setting(
    name: str,
    doc: str,
    default: Any = None,
    *,
    secret: bool = False,
    schemes: tuple[str, ...] = (),
) -> Any:
    about = {"name": name, "doc": doc, "secret": secret, "schemes": schemes}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a process. Each field names its environment variable and says what it does."""

    environment: str = _setting(
        "PLEXUS_ENVIRONMENT", "Name of the deployment, a dimension of metrics.", "local"
    )
    account_key: str | None = _setting(
        "PLEXUS_ACCOUNT_KEY",
        "Account that the queue's messages belong to, and whose scorecards are read. A message that names a job of "
        "another account is answered as one that names no job. Not set: a message's own account, else `default`.",
    )
    api_url: str | None = _setting(
        "PLEXUS_API_URL", "Plexus's GraphQL endpoint (store plexus_api).", schemes=HTTP
    )
    api_key: str | None = _setting(
        "PLEXUS_API_KEY", "Key of Plexus's API. In AWS, leave it to PLEXUS_SECRET_ARN.", secret=True
    )
    secret_arn: str | None = _setting(
        "PLEXUS_SECRET_ARN",
        "ARN of a Secrets Manager secret, a JSON object whose keys are variables of this list or a model "
        "provider's (OPENAI_API_KEY); read once at start, never written to the environment.",
    )

    mode: Literal["real", "mock"] = _setting(
        "PLEXUS_SCORING_MODE",
        "`mock` answers every request without computing anything, also where job, item or scorecard are not "
        "there.",
        "real",
    )
    engine: Literal["auto", "portable", "plexus"] = _setting(
        "PLEXUS_SCORING_ENGINE",
        "Which engine computes scores: `auto` takes the portable one wherever it runs every class that "
        "a score needs, else Plexus itself.",
        "auto",
    )
    plexus_python: str | None = _setting(
        "PLEXUS_PYTHON",
        "Interpreter of the environment that holds Plexus, or `tactus` alone. Default: /opt/plexus/bin/python where it "
        "is (our image); without one neither Plexus nor a TactusScore runs.",
    )
    plexus_hosts: Count = _setting(
        "PLEXUS_HOSTS",
        "Processes of that interpreter at most, of each kind; a further one starts while the others have jobs.",
        1,
    )
    plexus_host_memory_mb: Count | None = _setting(
        "PLEXUS_HOST_MEMORY_MB",
        "Address space of the process that holds Plexus, in MiB. Default: no limit.",
    )
    plexus_tactus_memory_mb: Count = _setting(
        "PLEXUS_TACTUS_MEMORY_MB",
        "What the Lua of one TactusScore may use beside what `tactus` itself takes, in MiB.",
        1024,
    )
    plexus_host_isolation: Literal["auto", "bubblewrap", "none"] = _setting(
        "PLEXUS_HOST_ISOLATION",
        "How those processes are kept from this machine's files and processes: `auto` uses bubblewrap where it can "
        "be used, `bubblewrap` refuses to score without it.",
        "auto",
    )
    plexus_host_variables: str | None = _setting(
        "PLEXUS_HOST_VARIABLES",
        "Further variables that those processes get, separated by commas. They get the model providers' keys and "
        "addresses and the proxy's; Plexus gets PLEXUS_ACCOUNT_KEY and AWS's credentials as well.",
    )
    trust_code: bool = _setting(
        "PLEXUS_SCORING_TRUST_CODE",
        "Run Python that stands in scorecards inside this process, with its rights and without limits.",
        default=False,
    )

    request_queue_url: str | None = _setting(
        "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL",
        "SQS queue of requests. Without it, an empty event claims the oldest PENDING job.",
        schemes=HTTP,
    )
    response_queue_url: str | None = _setting(
        "PLEXUS_RESPONSE_WORKER_QUEUE_URL", "SQS queue that responses are sent to.", schemes=HTTP
    )
    dead_letter_queue_url: str | None = _setting(
        "PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL",
        "SQS queue for messages that can never work. Default: the request queue's own redrive target.",
        schemes=HTTP,
    )

    store: Literal["dynamodb", "sql", "memory", "plexus_api"] | None = _setting(
        "PLEXUS_STORE",
        "Where jobs and results live. Default: dynamodb in a Lambda function, else sql.",
    )
    lease_store: Literal["dynamodb", "sql", "memory"] | None = _setting(
        "PLEXUS_LEASE_STORE",
        "Where leases, attempts and results lie beside Plexus's API (store plexus_api). Default: dynamodb in a "
        "Lambda function, else sql.",
    )
    api_takeover_seconds: NotNegative = _setting(
        "PLEXUS_API_TAKEOVER_SECONDS",
        "How long a job that Plexus's own worker began is left to it (store plexus_api).",
        900.0,
    )
    graphql_auth_mode: Literal["api_key", "iam"] = _setting(
        "PLEXUS_GRAPHQL_AUTH_MODE",
        "How calls to Plexus's API say who makes them (store plexus_api): `api_key`, or `iam`: signed with the "
        "process's AWS credentials.",
        "api_key",
    )
    api_region: str | None = _setting(
        "PLEXUS_API_REGION",
        "Region for signatures with PLEXUS_GRAPHQL_AUTH_MODE=iam. Default: as PLEXUS_API_URL says.",
    )
    jobs_table_name: str = _setting(
        "PLEXUS_JOBS_TABLE_NAME",
        "DynamoDB table (store dynamodb, or leases in dynamodb).",
        "plexus-scoring-jobs",
    )
    database_url: str = _setting(
        "PLEXUS_DATABASE_URL",
        "SQLAlchemy URL of SQLite or PostgreSQL (store sql).",
        "sqlite:///plexus-scoring.db",
        secret=True,
        schemes=("sqlite", "postgresql", "postgres"),
    )
    database_prepare: Literal["auto", "on", "off"] = _setting(
        "PLEXUS_DATABASE_PREPARE",
        "Whether PostgreSQL prepares statements: `auto` does unless a connection pooler is in between; `on` is for a "
        "pooler that tracks them (PgBouncer 1.21 with max_prepared_statements).",
        "auto",
    )
    catalog_dir: str | None = _setting(
        "PLEXUS_CATALOG_DIR",
        "Directory with scorecards/ and items/. Set, it replaces the store as the place of scorecards and items.",
    )
    attachments_bucket: str | None = _setting(
        "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME",
        "S3 bucket of traces, logs and large texts.",
    )
    attachments_dir: str = _setting(
        "PLEXUS_ATTACHMENTS_DIR",
        "Directory of traces and logs where no bucket is set.",
        "plexus-attachments",
    )
    scorecard_cache_dir: str = _setting(
        "SCORECARD_CACHE_DIR",
        "Directory where scorecards are cached.",
        "/tmp/scorecards",  # noqa: S108  the name and default are upstream's
    )
    scorecard_ttl: NotNegative = _setting(
        "PLEXUS_SCORECARD_TTL_SECONDS",
        "For how long a scorecard's newest version is believed to be the newest.",
        60.0,
    )
    reuse_results: bool = _setting(
        "PLEXUS_REUSE_RESULTS",
        "Answer with a stored result of the same item content and score version where there is one.",
        default=False,
    )

    concurrency: Count = _setting(
        "PLEXUS_CONCURRENCY", "Jobs in flight in one function container.", 100
    )
    aws_threads: Count = _setting(
        "PLEXUS_AWS_THREADS", "Threads (and connections) for calls to AWS.", 16
    )
    lease_seconds: Positive = _setting(
        "PLEXUS_LEASE_SECONDS",
        "How long a claim holds unless renewed; it is renewed every third.",
        60.0,
    )
    max_attempts: Count = _setting(
        "PLEXUS_MAX_ATTEMPTS",
        "Attempts with an error after which a job is FAILED; workers that die under it count apart (at least 3).",
        5,
    )
    job_timeout: Positive = _setting(
        "PLEXUS_JOB_TIMEOUT_SECONDS", "Longest time for one attempt at one job.", 280.0
    )
    deadline_margin: NotNegative = _setting(
        "PLEXUS_DEADLINE_MARGIN_SECONDS",
        "Time kept at the end of a Lambda invocation to release unfinished jobs.",
        3.0,
    )
    retry_base: Positive = _setting(
        "PLEXUS_RETRY_BASE_SECONDS",
        "Upper bound of the first retry's delay; it doubles each time.",
        2.0,
    )
    retry_max: Positive = _setting(
        "PLEXUS_RETRY_MAX_SECONDS", "Upper bound of any retry's delay.", 600.0
    )
    provider_patience: Positive = _setting(
        "PLEXUS_PROVIDER_PATIENCE_SECONDS",
        "How long a job is tried again while its model provider is down (5xx, no connection); default: 6 hours.",
        21_600.0,
    )
    max_item_bytes: Count = _setting(
        "PLEXUS_MAX_ITEM_BYTES", "Largest item text that is read from S3.", 20_000_000
    )

    retention_days: Positive | None = _setting(
        "PLEXUS_RETENTION_DAYS",
        "How long jobs and their results are kept after their end. DynamoDB deletes them by itself, the sql store by "
        "`plexus-scoring db purge`, run from a timer. Default: for ever.",
    )

    sweep_pending_after: Positive = _setting(
        "PLEXUS_SWEEP_PENDING_SECONDS",
        "How long a due PENDING job may lie untouched before the sweeper sends its message again.",
        900.0,
    )
    sweep_limit: Count = _setting("PLEXUS_SWEEP_LIMIT", "Jobs put back by one sweep at most.", 1000)

    transport: Literal["rabbitmq", "sqs", "redis"] | None = _setting(
        "PLEXUS_TRANSPORT", "Where a worker takes requests from; `--transport` overrides it."
    )
    worker_concurrency: Count | None = _setting(
        "PLEXUS_WORKER_CONCURRENCY",
        "Scores computed at a time in one worker; up to three jobs for each of them may be claiming or committing "
        "beside them. Default: the prefetch on RabbitMQ, elsewhere 10.",
    )
    drain_seconds: NotNegative = _setting(
        "PLEXUS_DRAIN_SECONDS",
        "How long jobs in flight may go on after SIGTERM; the rest is released.",
        25.0,
    )
    max_deliveries: Count = _setting(
        "PLEXUS_MAX_DELIVERIES",
        "Counted deliveries of one message after which it is dead. A job's own limit is PLEXUS_MAX_ATTEMPTS.",
        20,
    )
    health_host: str = _setting(
        "PLEXUS_HEALTH_HOST",
        "Address of the worker's health and metrics server.",
        "0.0.0.0",  # noqa: S104  probes come from outside the container
    )
    health_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = _setting(
        "PLEXUS_HEALTH_PORT", "Port of the worker's health and metrics server.", 8080
    )
    health_stale_seconds: Positive = _setting(
        "PLEXUS_HEALTH_STALE_SECONDS",
        "A worker whose loop has not run for so long is reported as hanging.",
        30.0,
    )
    breaker_failures: Count = _setting(
        "PLEXUS_BREAKER_FAILURES",
        "Failures in a row, of a store or of a model provider, after which a worker takes no jobs.",
        10,
    )
    breaker_seconds: Positive = _setting(
        "PLEXUS_BREAKER_SECONDS", "How long it then waits before it tries again.", 15.0
    )

    sqs_visibility_seconds: Annotated[float, msgspec.Meta(ge=1, le=43_200)] = _setting(
        "PLEXUS_SQS_VISIBILITY_SECONDS",
        "Visibility timeout that a worker sets and extends; a dead worker's messages come back after as long.",
        60.0,
    )
    rabbitmq_url: str | None = _setting(
        "PLEXUS_RABBITMQ_URL",
        "amqp or amqps URL of the broker (transport rabbitmq).",
        secret=True,
        schemes=("amqp", "amqps"),
    )
    rabbitmq_request_queue: str | None = _setting(
        "PLEXUS_RABBITMQ_REQUEST_QUEUE",
        "Queue of requests; the names of its dead-letter and retry queues derive from it.",
    )
    rabbitmq_response_queue: str | None = _setting(
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE", "Queue of responses to requests without reply_to."
    )
    rabbitmq_prefetch: Count = _setting(
        "PLEXUS_RABBITMQ_PREFETCH",
        "Unacknowledged messages that the broker gives a worker; bounds its concurrency.",
        1,
    )
    rabbitmq_declare: bool = _setting(
        "PLEXUS_RABBITMQ_DECLARE",
        "Create queues that do not exist. `false`: only check that they are there.",
        default=True,
    )
    langgraph_checkpointer_postgres_uri: str | None = _setting(
        "PLEXUS_LANGGRAPH_CHECKPOINTER_POSTGRES_URI",
        "PostgreSQL where the portable engine keeps what models answered: a retried job resumes its graph and pays "
        "once. Run `plexus-scoring db upgrade --url` on it. Default: the job store.",
        secret=True,
        schemes=("postgresql", "postgres"),
    )
    fetch_schema_from_transport: bool | None = _setting(
        "PLEXUS_FETCH_SCHEMA_FROM_TRANSPORT",
        "Whether the GraphQL schema is introspected; Plexus's API refuses it (store plexus_api).",
    )
    redis_url: str | None = _setting(
        "PLEXUS_REDIS_URL",
        "redis or rediss URL (transport redis).",
        secret=True,
        schemes=("redis", "rediss"),
    )
    redis_request_queue: str = _setting(
        "PLEXUS_REDIS_REQUEST_QUEUE", "BullMQ queue of requests.", "plexus-scoring-requests"
    )
    redis_response_queue: str = _setting(
        "PLEXUS_REDIS_RESPONSE_QUEUE", "BullMQ queue of responses.", "plexus-scoring-responses"
    )
    redis_lock_seconds: Positive = _setting(
        "PLEXUS_REDIS_LOCK_SECONDS",
        "How long a BullMQ job is a worker's unless extended; a dead worker is noticed after as long.",
        30.0,
    )
    redis_prefix: str = _setting(
        "PLEXUS_REDIS_PREFIX",
        "Prefix of BullMQ's keys, as producers and dashboards set it.",
        "bull",
    )

    log_level: str = _setting("LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR.", "INFO")
    metrics_namespace: str = _setting(
        "PLEXUS_METRICS_NAMESPACE", "CloudWatch namespace of the metrics.", "PlexusScoring"
    )

    @property
    def account(self) -> str:
        """The account of a message or command that names none."""
        return self.account_key or DEFAULT_ACCOUNT

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; an empty variable counts as not set.

        Raises:
            ConfigurationError: names every malformed variable and what it should be.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[str] = []
        for field, kind in _fields(cls):
            text = environ.get(field.metadata["name"], "")
            if not text:
                continue
            try:
                values[field.name] = msgspec.convert(text, kind, strict=False)  # noqa: TID251  in one thread
            except msgspec.ValidationError as error:
                shown = "its value" if field.metadata["secret"] else repr(text)
                problems.append(f"{field.metadata['name']}: {shown} does not fit: {error}")
            schemes = field.metadata["schemes"]
            if schemes and (problem := problem_of_url(text, schemes)):
                problems.append(f"{field.metadata['name']} {problem}")
        if problems:
            raise ConfigurationError("; ".join(problems))
        return cls(**values)

    def require(self, *fields: str) -> None:
        """Check that these fields are set.

        Raises:
            ConfigurationError: names the environment variables of all that are not.
        """
        missing = [
            _BY_FIELD[field].metadata["name"] for field in fields if getattr(self, field) is None
        ]
        if missing:
            raise ConfigurationError(
                f"missing environment variable{'s' if len(missing) > 1 else ''}: {', '.join(missing)}"
            )


@dataclass(frozen=True)
class SettingDoc:
    """One row of the settings' documentation."""

    name: str
    type: str
    default: str
    doc: str
    field: str
    secret: bool
    schemes: tuple[str, ...] = ()


def describe_settings() -> list[SettingDoc]:
    """Return what ``docs/settings.md`` and ``plexus-scoring config check`` show."""
    return [
        SettingDoc(
            name=field.metadata["name"],
            type=_type_name(kind),
            default="" if field.default is None else str(field.default),
            doc=field.metadata["doc"],
            field=field.name,
            secret=field.metadata["secret"],
            schemes=field.metadata["schemes"],
        )
        for field, kind in _fields(Settings)
    ]


def _fields(cls: type[Settings]) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        yield field, hints[field.name]


def _type_name(kind: Any) -> str:
    schema = msgspec.json.schema(kind)
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    if "enum" in options[0]:
        return " or ".join(f"`{value}`" for value in options[0]["enum"] if value is not None)
    return str(options[0]["type"])


_BY_FIELD = {field.name: field for field in dataclasses.fields(Settings)}
