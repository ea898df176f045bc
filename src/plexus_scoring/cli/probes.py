"""The single checks of `plexus-scoring doctor`. Each says in one line what it found and what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plexus_scoring.model.errors import ScoringError

if TYPE_CHECKING:
    from plexus_scoring.bootstrap import Application

TIMEOUT = 10.0
HOST_SECONDS = 300.0
_PACKAGES = {
    "lambda": ("awslambdaric", "aws-lambda-powertools", "boto3"),
    "portable": ("httpx2", "jinja2", "rapidfuzz", "pydantic_monty"),
    "sql": ("sqlalchemy", "alembic"),
    "rabbitmq": ("aio-pika",),
    "redis": ("bullmq",),
    "api": ("fastapi", "uvicorn"),
}


@dataclass(frozen=True)
class Check:
    """One finding. ``off`` is something that is not set up and that nothing needs."""

    name: str
    status: Literal["ok", "off", "fail"]
    detail: str
    fix: str | None = None


def versions() -> list[Check]:
    """Return the versions of Python, of this package and of each extra."""
    own = importlib.metadata.version("plexus-scoring")
    checks = [Check("version", "ok", f"plexus-scoring {own}, Python {platform.python_version()}")]
    for extra, packages in _PACKAGES.items():
        found = {name: _version(name) for name in packages}
        if all(found.values()):
            detail = ", ".join(f"{name} {version}" for name, version in found.items())
            checks.append(Check(f"extra {extra}", "ok", detail))
        else:
            missing = ", ".join(name for name, version in found.items() if version is None)
            fix = f"if you need it: pip install 'plexus-scoring[{extra}]'"
            checks.append(Check(f"extra {extra}", "off", f"not installed: {missing}", fix))
    return checks


async def store(app: Application) -> list[Check]:
    """Check that the job store answers and is set up."""
    name = app.settings.store or type(app.jobs).__name__
    try:
        found = await asyncio.wait_for(app.jobs.check(), TIMEOUT)
    except TimeoutError:
        return [_silent("store", "check PLEXUS_STORE, the database's address and the network")]
    except ScoringError as error:
        fix = "check PLEXUS_STORE and its address; for sql run plexus-scoring db upgrade"
        return [Check("store", "fail", error.message, fix)]
    return [Check("store", "ok", f"{name} answers: {found}")]


async def queues(app: Application) -> list[Check]:
    """Check the SQS queues that are set."""
    settings = app.settings
    named = {
        "request queue": (
            "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL",
            settings.request_queue_url,
        ),
        "response queue": ("PLEXUS_RESPONSE_WORKER_QUEUE_URL", settings.response_queue_url),
        "dead letters": ("PLEXUS_SCORING_DEAD_LETTER_QUEUE_URL", settings.dead_letter_queue_url),
    }
    return list(
        await asyncio.gather(
            *(_queue(app, name, variable, url) for name, (variable, url) in named.items())
        )
    )


async def _queue(app: Application, name: str, variable: str, url: str | None) -> Check:
    if url is None:
        return Check(name, "off", f"{variable} is not set")
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  queues only

    from plexus_scoring.aws import translate  # noqa: PLC0415

    try:
        answer = await asyncio.wait_for(
            app.aws.call(
                app.aws.sqs.get_queue_attributes,
                QueueUrl=url,
                AttributeNames=["ApproximateNumberOfMessages", "VisibilityTimeout"],
            ),
            TIMEOUT,
        )
    except TimeoutError:
        return _silent(name, f"check {variable} and the network")
    except (BotoCoreError, ClientError) as error:
        return Check(name, "fail", translate(error, f"queue {url}").message, f"check {variable}")
    attributes = answer.get("Attributes", {})
    waiting = attributes.get("ApproximateNumberOfMessages", "?")
    return Check(
        name,
        "ok",
        f"about {waiting} messages, visibility {attributes.get('VisibilityTimeout', '?')} s",
    )


async def broker(app: Application) -> list[Check]:
    """Check the worker's broker, where PLEXUS_TRANSPORT names one other than SQS."""
    kind = app.settings.transport
    if kind not in ("rabbitmq", "redis"):
        return []
    from plexus_scoring.worker.connect import connect, transport_kind  # noqa: PLC0415  brokers

    fix = "check PLEXUS_TRANSPORT, the broker's address and the network"
    try:
        transport = connect(app.settings, transport_kind(app.settings))
        try:
            stats = await asyncio.wait_for(transport.admin.stats(), TIMEOUT)
            problem = await asyncio.wait_for(transport.admin.problem(), TIMEOUT)
        finally:
            await transport.admin.aclose()
            await transport.close()
    except TimeoutError:
        return [_silent(kind, fix)]
    except ScoringError as error:
        return [Check(kind, "fail", error.message, fix)]
    if problem is not None:
        return [Check(kind, "fail", problem, "jobs that the server evicts are lost")]
    return [Check(kind, "ok", f"answers; {stats.waiting} messages waiting")]


async def attachments(app: Application) -> list[Check]:
    """Check that the bucket is there, or that the directory can be written to."""
    bucket = app.settings.attachments_bucket
    if bucket is None:
        return [_directory(Path(app.settings.attachments_dir))]
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  buckets only

    from plexus_scoring.aws import translate  # noqa: PLC0415

    variable = "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"
    try:
        await asyncio.wait_for(app.aws.call(app.aws.s3.head_bucket, Bucket=bucket), TIMEOUT)
    except TimeoutError:
        return [_silent("bucket", "check the network")]
    except (BotoCoreError, ClientError) as error:
        message = translate(error, f"bucket {bucket}").message
        return [Check("bucket", "fail", message, f"check {variable}")]
    return [Check("bucket", "ok", f"{bucket} is there")]


async def hosts(app: Application, environ: Mapping[str, str]) -> list[Check]:
    """Start the process that holds Plexus or tactus, and have it import what it has."""
    from plexus_scoring.engines.plexus.build import (  # noqa: PLC0415  scores
        build_plexus_engine,
        build_tactus_runner,
    )

    name, fix = "plexus host", "check PLEXUS_PYTHON; see docs/plexus-compatibility.md"
    if app.settings.engine == "portable" or app.settings.mode == "mock":
        return [Check(name, "off", "nothing runs Plexus or TactusScores with these settings")]
    try:
        runner = build_tactus_runner(app.settings, environ)
        if runner is None and app.settings.engine == "auto":
            return [Check(name, "off", "PLEXUS_PYTHON is not set: no Plexus, no TactusScore")]
        engine = build_plexus_engine(app.settings, environ)
        try:
            found = await engine.hello()
            if found.plexus is not None or runner is None:
                host = await engine.load()
            else:
                host = await runner.load(models=True, deadline=time.time() + HOST_SECONDS)
        finally:
            await engine.aclose()
            if runner is not None:
                await runner.aclose()
    except ScoringError as error:
        return [Check(name, "fail", error.message, fix)]
    versions = " and ".join(
        f"{package} {version}"
        for package, version in (("Plexus", found.plexus), ("tactus", found.tactus))
        if version is not None
    )
    where = (
        "in bubblewrap" if host.isolated else "without bubblewrap: it can read this user's files"
    )
    return [Check(name, "ok", f"{versions}, Python {found.python}, {where}")]


async def model_endpoint(environ: Mapping[str, str]) -> Check:
    """Ask the OpenAI-compatible endpoint for its list of models, with the client that asks models."""
    from plexus_scoring.engines.models.environment import check_environment  # noqa: PLC0415  models

    name = "model endpoint"
    try:
        check_environment(environ)
    except ScoringError as error:
        return Check(name, "fail", error.message, "set the variable right, or unset it")
    key, base = environ.get("OPENAI_API_KEY"), environ.get("OPENAI_BASE_URL")
    if not (key or base):
        detail = "OPENAI_API_KEY and OPENAI_BASE_URL are not set"
        return Check(name, "off", detail, "set one of them for scores that ask a model")
    try:
        import httpx2  # noqa: PLC0415  0.1 s: models only
    except ImportError:
        fix = "pip install 'plexus-scoring[portable]'"
        return Check(name, "fail", "httpx2 is not installed", fix)
    from plexus_scoring.engines.models.connections import make_client  # noqa: PLC0415  models

    url = f"{(base or 'https://api.openai.com/v1').rstrip('/')}/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with make_client(headers) as client:
            answer = await client.get(url, timeout=TIMEOUT)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        fix = (
            "check OPENAI_BASE_URL, the proxies (HTTPS_PROXY, ALL_PROXY, NO_PROXY) and the network"
        )
        return Check(name, "fail", f"{url} cannot be reached: {reason}", fix)
    if answer.is_success:
        return Check(name, "ok", f"{url} answers {answer.status_code}")
    return _refusal(url, answer.status_code)


async def sandbox(environ: Mapping[str, str]) -> Check:
    """Check that submitted code can be confined on this machine, if that is where it runs."""
    from plexus_scoring.engines.sandbox.choice import chosen_kind  # noqa: PLC0415  an engine's
    from plexus_scoring.engines.sandbox.confinement import confinement  # noqa: PLC0415  see above

    if chosen_kind(environ) == "e2b":
        return Check("sandbox", "ok", "submitted code runs at E2B")
    found = await confinement()
    if not found.missing:
        return Check("sandbox", "ok", f"submitted code is confined: {', '.join(found.holds)}")
    fix = "if you run submitted code: set up what is missing, or use E2B (E2B_API_KEY)"
    return Check("sandbox", "off", found.missing, fix)


def _refusal(url: str, status: int) -> Check:
    detail = f"{url} answers {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Check("model endpoint", "fail", f"{detail}: key refused", "check OPENAI_API_KEY")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Check("model endpoint", "fail", detail, "the provider is in trouble: try later")
    # Not every compatible server lists its models; an answer shows that it can be reached.
    return Check("model endpoint", "ok", detail)


def _directory(folder: Path) -> Check:
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if place.is_dir() and os.access(place, os.W_OK):
        return Check("attachments", "ok", f"{folder} can be written to")
    fix = "set PLEXUS_ATTACHMENTS_DIR to a directory that this user may write to"
    return Check("attachments", "fail", f"{folder} cannot be written to", fix)


def _silent(name: str, fix: str) -> Check:
    return Check(name, "fail", f"no answer within {TIMEOUT:.0f} s", fix)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
