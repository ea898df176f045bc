"""The only place where adapters are chosen and put together.

Everything heavy is imported in the branch that needs it: a function that scores without a language model never
imports one, and a worker on PostgreSQL never imports boto3.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from plexus_scoring.aws import Aws
from plexus_scoring.engines.deferred import DeferredEngine
from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.ports import (
    AttachmentStore,
    Catalog,
    Checkpoints,
    Clock,
    JobStore,
    Responder,
    ScoringEngine,
)
from plexus_scoring.service import Policy, ScoringService
from plexus_scoring.settings import Settings
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.telemetry.metrics import Metrics, NoMetrics

if TYPE_CHECKING:
    from plexus_scoring.stores.dynamodb import DynamoDBStores
    from plexus_scoring.stores.dynamodb.moves import Moved

Part = TypeVar("Part")

DAY_SECONDS = 86_400.0


class Observe(Protocol):
    """Returns what stands in for a part: the part itself, or something around it."""

    def __call__(self, name: str, part: Part, /) -> Part:
        """Wrap the part that is called ``jobs``, ``catalog``, ``attachments``, ``responder`` or ``engine``."""
        ...


class Closable(Protocol):
    """A part that no port names but that has connections of its own."""

    async def aclose(self) -> None:
        """Close them. Safe to call twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class Application:
    """The parts of a process, put together."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    aws: Aws
    jobs: JobStore
    catalog: Catalog
    attachments: AttachmentStore
    responder: Responder
    engine: ScoringEngine
    service: ScoringService
    others: tuple[Closable, ...] = ()

    async def aclose(self) -> None:
        """Close every part, engine first: what still runs must be able to reach the stores."""
        parts: tuple[Closable, ...] = (
            self.engine,
            self.responder,
            self.catalog,
            self.jobs,
            self.attachments,
            *self.others,
            self.aws,
        )
        for part in parts:
            await part.aclose()


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables to go by: the process's, and under them those of the secret it names.

    The secret's values are never written to the process's environment, where a crash report or a child would
    show them.

    Raises:
        ConfigurationError: the secret cannot be read or is not a JSON object.
    """
    variables = dict(os.environ if environ is None else environ)
    arn = variables.get("PLEXUS_SECRET_ARN")
    if not arn:
        return variables
    from aws_lambda_powertools.utilities.parameters import (  # noqa: PLC0415  the lambda extra's
        GetParameterError,
        SecretsProvider,
    )

    try:
        secret = json.loads(str(SecretsProvider().get(arn)))
    except GetParameterError as error:
        raise ConfigurationError(
            f"PLEXUS_SECRET_ARN: the secret cannot be read: {error}"
        ) from error
    except json.JSONDecodeError:
        # Not chained: the decoder's error holds the secret's text.
        raise ConfigurationError("PLEXUS_SECRET_ARN: the secret is not JSON") from None
    if not isinstance(secret, dict):
        raise ConfigurationError("PLEXUS_SECRET_ARN: the secret is not a JSON object")
    return {name: str(value) for name, value in secret.items()} | variables


def check_models(settings: Settings, environ: Mapping[str, str] | None = None) -> None:
    """Return if the clients that ask models can be made: keys, addresses, proxies, certificates.

    Raises:
        ConfigurationError: names each variable that is wrong.
    """
    if settings.mode == "mock" or settings.engine == "plexus":
        return
    from plexus_scoring.engines.models.environment import check_environment  # noqa: PLC0415

    check_environment(os.environ if environ is None else environ)


def build_engine(settings: Settings, environ: Mapping[str, str] | None = None) -> ScoringEngine:
    """Return the engine that the settings ask for.

    Raises:
        ConfigurationError: an extra that the engine needs is not installed.
    """
    if settings.mode == "mock":
        from plexus_scoring.engines.mock import MockEngine  # noqa: PLC0415

        return MockEngine()
    if settings.engine == "plexus":
        from plexus_scoring.engines.plexus.build import build_plexus_engine  # noqa: PLC0415

        return build_plexus_engine(settings, environ)
    from plexus_scoring.engines.models.router import ModelRouter  # noqa: PLC0415
    from plexus_scoring.engines.models.settings import ModelSettings  # noqa: PLC0415
    from plexus_scoring.engines.portable.engine import PortableEngine  # noqa: PLC0415

    check_models(settings, environ)
    models = ModelRouter(ModelSettings.from_environment(environ))
    if settings.engine == "portable":
        return PortableEngine(models, trust_code=settings.trust_code)
    from plexus_scoring.engines.auto import AutoEngine  # noqa: PLC0415
    from plexus_scoring.engines.plexus.build import (  # noqa: PLC0415
        build_plexus_engine,
        build_tactus_runner,
    )

    tactus = build_tactus_runner(settings, environ)
    portable = PortableEngine(models, trust_code=settings.trust_code, tactus=tactus)
    if tactus is None:
        return portable
    return AutoEngine(portable, build_plexus_engine(settings, environ))


def build(
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    responder: Responder | None = None,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    aws: Aws | None = None,
    observe: Observe | None = None,
) -> Application:
    """Put a process together. Nothing is connected yet: adapters connect when first used.

    Args:
        settings: What to choose.
        environ: Where model providers' variables are looked up; default: the process's environment.
        responder: Where responses go; default: the response queue, or nowhere if none is set.
        metrics: Where measurements go; default: nowhere.
        clock: Time; default: the machine's.
        aws: Clients and threads; default: new ones.
        observe: Wraps the parts that the service calls, for a circuit breaker or for spans; default: nothing does.

    Raises:
        ConfigurationError: settings that belong together are missing, all named at once.
    """
    clock = clock or SystemClock()
    metrics = metrics or NoMetrics()
    aws = aws or Aws(threads=settings.aws_threads)
    attachments = _attachments(settings, aws)
    jobs, catalog, checkpoints, attachments = _store(settings, aws, attachments, clock)
    graphs = None
    if settings.langgraph_checkpointer_postgres_uri is not None:
        from plexus_scoring.stores.sql import connect as connect_sql  # noqa: PLC0415

        graphs = connect_sql(
            settings.langgraph_checkpointer_postgres_uri,
            clock=clock,
            prepare=settings.database_prepare,
        )
        checkpoints = graphs.checkpoints
    if settings.catalog_dir is not None:
        from plexus_scoring.stores.files import FilesCatalog  # noqa: PLC0415

        catalog = FilesCatalog(settings.catalog_dir)
    else:
        from plexus_scoring.stores.cache import CachedCatalog  # noqa: PLC0415

        catalog = CachedCatalog(
            catalog,
            clock=clock,
            ttl=settings.scorecard_ttl,
            # Over Plexus's API the score versions are what is kept on disk, so that results can name them.
            directory=None if settings.store == "plexus_api" else settings.scorecard_cache_dir,
        )
    responder = responder or _responder(settings, aws)
    if settings.engine == "plexus" and settings.mode == "real":
        from plexus_scoring.engines.plexus.build import build_plexus_engine  # noqa: PLC0415

        build_plexus_engine(settings, environ)  # to fail at the start, before any job could
    engine = DeferredEngine(lambda: build_engine(settings, environ))
    if observe is not None:
        jobs, catalog, attachments, responder, engine = (
            observe("jobs", jobs),
            observe("catalog", catalog),
            observe("attachments", attachments),
            observe("responder", responder),
            observe("engine", engine),
        )
    service = ScoringService(
        jobs=jobs,
        catalog=catalog,
        attachments=attachments,
        responder=responder,
        engine=engine,
        clock=clock,
        policy=Policy(
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            job_timeout=settings.job_timeout,
            retry_base=settings.retry_base,
            retry_max=settings.retry_max,
            provider_patience=settings.provider_patience,
            reuse_results=settings.reuse_results,
            max_item_bytes=settings.max_item_bytes,
            mock=settings.mode == "mock",
        ),
        metrics=metrics,
        checkpoints=checkpoints,
        account=settings.account_key,
    )
    return Application(
        settings=settings,
        clock=clock,
        metrics=metrics,
        aws=aws,
        jobs=jobs,
        catalog=catalog,
        attachments=attachments,
        responder=responder,
        engine=engine,
        service=service,
        others=() if graphs is None else (graphs,),
    )


async def upgrade_table(settings: Settings) -> Moved:
    """Bring the rows of the DynamoDB table to this version's layout.

    Raises:
        StoreUnavailable: the table cannot be reached, or not scanned; what was moved until then stays moved.
    """
    aws = Aws(threads=settings.aws_threads)
    try:
        stores = _dynamodb(settings, aws, _attachments(settings, aws), SystemClock())
        return await stores.jobs.upgrade()
    finally:
        await aws.aclose()


@contextlib.asynccontextmanager
async def open_application(
    settings: Settings | None = None,
    *,
    responder: Responder | None = None,
    metrics: Metrics | None = None,
    observe: Observe | None = None,
    scores: bool = False,
) -> AsyncIterator[Application]:
    """Put a process together from the environment, and close it at the end.

    Args:
        settings: What to choose; default: what the environment says.
        responder: See `build`.
        metrics: See `build`.
        observe: See `build`.
        scores: Whether the process is there to score, so that it must not start if it cannot ask models.

    Raises:
        ConfigurationError: what `environment`, `Settings.from_environment` and `build` raise.
    """
    environ = environment()
    settings = settings or Settings.from_environment(environ)
    if scores:
        check_models(settings, environ)
    application = build(
        settings, environ=environ, responder=responder, metrics=metrics, observe=observe
    )
    try:
        yield application
    finally:
        await application.aclose()


def _attachments(settings: Settings, aws: Aws) -> AttachmentStore:
    if settings.attachments_bucket is not None:
        from plexus_scoring.attachments.s3 import S3Attachments  # noqa: PLC0415

        return S3Attachments(
            aws.s3,
            aws.executor,
            settings.attachments_bucket,
            max_bytes=settings.max_item_bytes,
        )
    from plexus_scoring.attachments.filesystem import (  # noqa: PLC0415
        FilesystemAttachments,
    )

    return FilesystemAttachments(settings.attachments_dir)


def _store(
    settings: Settings, aws: Aws, attachments: AttachmentStore, clock: Clock
) -> tuple[JobStore, Catalog, Checkpoints, AttachmentStore]:
    """Return the stores, and the attachments to be used with them."""
    default = "dynamodb" if os.environ.get("AWS_LAMBDA_FUNCTION_NAME") else "sql"
    store = settings.store or default
    own = (settings.lease_store or default) if store == "plexus_api" else store
    jobs, catalog, checkpoints = _own_store(own, settings, aws, attachments, clock)
    if store != "plexus_api":
        return jobs, catalog, checkpoints, attachments
    iam = settings.graphql_auth_mode == "iam"
    settings.require("api_url", "account_key", *(() if iam else ("api_key",)))
    try:
        from plexus_scoring.stores import plexus_api  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"PLEXUS_STORE=plexus_api needs {error.name}: pip install 'plexus-scoring[plexus-api]'"
        ) from error
    stores = plexus_api.connect(
        settings.api_url or "",
        plexus_api.IamSignature(settings.api_region) if iam else settings.api_key or "",
        account=settings.account_key,
        leases=jobs,
        catalog=catalog,
        attachments=attachments,
        cache_directory=settings.scorecard_cache_dir,
        takeover_seconds=settings.api_takeover_seconds,
        clock=clock,
    )
    return stores.jobs, stores.catalog, checkpoints, stores.attachments


def _own_store(
    store: str, settings: Settings, aws: Aws, attachments: AttachmentStore, clock: Clock
) -> tuple[JobStore, Catalog, Checkpoints]:
    if store == "dynamodb":
        stores = _dynamodb(settings, aws, attachments, clock)
        return stores.jobs, stores.catalog, stores.checkpoints
    if store == "memory":
        from plexus_scoring.stores import memory  # noqa: PLC0415

        return (
            memory.MemoryJobStore(clock=clock),
            memory.MemoryCatalog(),
            memory.MemoryCheckpoints(),
        )
    if store == "sql":
        from plexus_scoring.stores.sql import connect as connect_sql  # noqa: PLC0415

        tables = connect_sql(settings.database_url, clock=clock, prepare=settings.database_prepare)
        return tables.jobs, tables.catalog, tables.checkpoints
    raise ConfigurationError(f"PLEXUS_STORE={store} is not part of this release")


def _dynamodb(
    settings: Settings, aws: Aws, attachments: AttachmentStore, clock: Clock
) -> DynamoDBStores:
    from plexus_scoring.stores.dynamodb import connect  # noqa: PLC0415

    return connect(
        settings.jobs_table_name,
        client=aws.dynamodb,
        executor=aws.executor,
        overflow=attachments,
        clock=clock,
        retention_seconds=days * DAY_SECONDS if (days := settings.retention_days) else None,
    )


def _responder(settings: Settings, aws: Aws) -> Responder:
    if settings.response_queue_url is not None:
        from plexus_scoring.transports.sqs import SqsResponder, SqsSender  # noqa: PLC0415

        return SqsResponder(SqsSender(aws, settings.response_queue_url))
    from plexus_scoring.transports.discard import DiscardResponder  # noqa: PLC0415

    return DiscardResponder()
