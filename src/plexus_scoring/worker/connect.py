"""Chooses and puts together a transport. What a transport needs is checked and imported here, and nothing else is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from plexus_scoring.bootstrap import Application
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.ports import Responder
from plexus_scoring.settings import Settings
from plexus_scoring.transports.base import QueueAdmin, Source
from plexus_scoring.transports.consumer import Decide
from plexus_scoring.transports.requests import RequestHandler

Kind = Literal["rabbitmq", "sqs", "redis"]

DEFAULT_CONCURRENCY = 10

PLEXUS_API_FIELDS = (
    "account_key",
    "api_key",
    "api_url",
    "langgraph_checkpointer_postgres_uri",
    "fetch_schema_from_transport",
)


@dataclass(frozen=True, kw_only=True)
class Transport:
    """A broker's parts.

    Attributes:
        system: Its name in traces (OpenTelemetry, "messaging.system").
        source: Where requests come from.
        responder: Where responses go; None: where the application sends them by default.
        admin: The queue's operations.
        concurrency: Messages in work at a time.
        decide: Makes of the application what the consumer calls.
        close: Closes what source, responder and admin share, after they are closed.
    """

    system: str
    source: Source
    responder: Responder | None
    admin: QueueAdmin
    concurrency: int
    decide: Callable[[Application], Decide]
    close: Callable[[], Awaitable[None]]


def transport_kind(settings: Settings, asked: str | None = None) -> Kind:
    """Return the transport's kind. Raises ConfigurationError: none is named, or an unknown one."""
    kind = asked or settings.transport
    match kind:
        case "rabbitmq" | "sqs" | "redis":
            return kind
        case None:
            raise ConfigurationError(
                "no transport: give --transport or PLEXUS_TRANSPORT, one of rabbitmq, sqs, redis"
            )
        case _:
            raise ConfigurationError(f"transport {kind} is unknown: use rabbitmq, sqs or redis")


def required_fields(settings: Settings, kind: Kind) -> tuple[str, ...]:
    """Return the settings that must be given for this transport and the chosen store."""
    transport = {
        "rabbitmq": ("rabbitmq_url", "rabbitmq_request_queue", "rabbitmq_response_queue"),
        "sqs": ("request_queue_url", "response_queue_url"),
        "redis": ("redis_url",),
    }[kind]
    if settings.store != "plexus_api":
        return transport
    signed = settings.graphql_auth_mode == "iam"
    return transport + tuple(f for f in PLEXUS_API_FIELDS if not (signed and f == "api_key"))


def connect(settings: Settings, kind: Kind) -> Transport:
    """Return the transport, not yet connected.

    Raises:
        ConfigurationError: settings are missing, all named in one message; or its extra is not installed.
    """
    settings.require(*required_fields(settings, kind))
    try:
        match kind:
            case "rabbitmq":
                return _rabbitmq(settings)
            case "redis":
                return _redis(settings)
            case "sqs":
                return _sqs(settings)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"transport {kind} needs {error.name}: pip install 'plexus-scoring[{kind}]'"
        ) from error


def _requests(system: str) -> Callable[[Application], Decide]:
    def decide(application: Application) -> Decide:
        return RequestHandler(
            application.service.handle,
            system=system,
            default_account=application.settings.account,
            responder=application.responder,
            metrics=application.metrics,
        )

    return decide


def _rabbitmq(settings: Settings) -> Transport:
    from plexus_scoring.transports.rabbitmq import RabbitResponder, RabbitSource  # noqa: PLC0415
    from plexus_scoring.transports.rabbitmq_admin import RabbitAdmin  # noqa: PLC0415
    from plexus_scoring.transports.rabbitmq_connection import RabbitConnection  # noqa: PLC0415
    from plexus_scoring.transports.rabbitmq_topology import Topology  # noqa: PLC0415

    connection = RabbitConnection(settings.rabbitmq_url or "")
    topology = Topology(
        request=settings.rabbitmq_request_queue or "",
        response=settings.rabbitmq_response_queue or "",
    )
    prefetch = settings.rabbitmq_prefetch
    return Transport(
        system="rabbitmq",
        source=RabbitSource(
            connection, topology, prefetch=prefetch, declare=settings.rabbitmq_declare
        ),
        responder=RabbitResponder(connection, topology),
        admin=RabbitAdmin(connection, topology, declare=settings.rabbitmq_declare),
        concurrency=min(settings.worker_concurrency or prefetch, prefetch),
        decide=_requests("rabbitmq"),
        close=connection.aclose,
    )


def _redis(settings: Settings) -> Transport:
    from plexus_scoring.transports.redis import RedisResponder, RedisSource  # noqa: PLC0415
    from plexus_scoring.transports.redis_admin import RedisAdmin  # noqa: PLC0415
    from plexus_scoring.transports.redis_connection import connect_redis  # noqa: PLC0415

    client = connect_redis(settings.redis_url or "")
    queue, prefix = settings.redis_request_queue, settings.redis_prefix
    return Transport(
        system="redis",
        source=RedisSource(
            client,
            queue,
            prefix=prefix,
            max_stalled=settings.max_deliveries,
            lock_seconds=settings.redis_lock_seconds,
        ),
        responder=RedisResponder(
            client, settings.redis_response_queue, request_queue=queue, prefix=prefix
        ),
        admin=RedisAdmin(client, queue, prefix=prefix),
        concurrency=settings.worker_concurrency or DEFAULT_CONCURRENCY,
        decide=_requests("redis"),
        close=client.aclose,
    )


def _sqs(settings: Settings) -> Transport:
    from plexus_scoring.aws import Aws  # noqa: PLC0415
    from plexus_scoring.transports.sqs_admin import SqsAdmin  # noqa: PLC0415
    from plexus_scoring.transports.sqs_messages import SqsMessages  # noqa: PLC0415
    from plexus_scoring.transports.sqs_poll import SqsDecide, SqsSource  # noqa: PLC0415

    url, dead_url = settings.request_queue_url or "", settings.dead_letter_queue_url
    # Threads of its own: long polls must not keep a store's calls waiting.
    aws = Aws(threads=settings.aws_threads)

    def decide(application: Application) -> Decide:
        return SqsDecide(
            SqsMessages(
                handle=application.service.handle,
                attachments=application.attachments,
                aws=application.aws,
                clock=application.clock,
                metrics=application.metrics,
                request_queue_url=url,
                dead_letter_queue_url=dead_url,
                account=settings.account,
                responder=application.responder,
            )
        )

    return Transport(
        system="aws_sqs",
        source=SqsSource(
            aws,
            url,
            dead_letter_queue_url=dead_url,
            visibility_seconds=settings.sqs_visibility_seconds,
        ),
        responder=None,  # the application's own: PLEXUS_RESPONSE_WORKER_QUEUE_URL
        admin=SqsAdmin(aws, url, dead_letter_queue_url=dead_url),
        concurrency=settings.worker_concurrency or DEFAULT_CONCURRENCY,
        decide=decide,
        close=aws.aclose,
    )
