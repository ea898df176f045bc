"""boto3 for asyncio: clients with a bounded thread pool, and its errors in our words.

The adapters for DynamoDB, S3 and SQS share one `Aws`, so that a process has one pool and one session.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from plexus_scoring.model.errors import (
    ConfigurationError,
    InvalidRequest,
    NotFound,
    ScoringError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

T = TypeVar("T")

_MISSING = frozenset(
    {
        "404",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NoSuchKey",
        "NotFound",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
_DENIED = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_REGION = frozenset({"301", "PermanentRedirect", "AuthorizationHeaderMalformed"})


class Aws:
    """One boto3 session, its clients and the threads that their calls run on."""

    def __init__(self, *, threads: int = 16) -> None:
        """Make the pool; sessions and clients are made when first asked for."""
        self._threads = threads
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="aws")

    @functools.cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The DynamoDB client."""
        client: DynamoDBClient = self._client("dynamodb")
        return client

    @functools.cached_property
    def s3(self) -> S3Client:
        """The S3 client."""
        client: S3Client = self._client("s3")
        return client

    @functools.cached_property
    def sqs(self) -> SQSClient:
        """The SQS client."""
        client: SQSClient = self._client("sqs")
        return client

    @functools.cached_property
    def _session(self) -> Any:
        import boto3  # noqa: PLC0415  0.2 s that a process without AWS does not pay

        # boto3 itself reads AWS_DEFAULT_REGION only; AWS's other SDKs, and Lambda and ECS, go by AWS_REGION.
        return boto3.Session(region_name=os.environ.get("AWS_REGION") or None)

    def _client(self, service: str) -> Any:
        from botocore.config import Config  # noqa: PLC0415  see _session
        from botocore.exceptions import BotoCoreError, NoRegionError  # noqa: PLC0415

        config = Config(
            max_pool_connections=self._threads,
            connect_timeout=5,
            # Longer than SQS's 20 s long poll; a call that hangs must not hold a job for a minute.
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 4},
        )
        try:
            return self._session.client(service, config=config)
        except NoRegionError as error:
            raise ConfigurationError(f"{service}: no region is set: set AWS_REGION") from error
        except BotoCoreError as error:  # no such profile
            raise ConfigurationError(f"{service}: {error}") from error

    async def call(self, function: Callable[..., T], /, **arguments: Any) -> T:
        """Run one blocking client call on the pool.

        Raises what the client raises; adapters turn it into our words with `translate`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, functools.partial(function, **arguments))

    async def aclose(self) -> None:
        """End the threads. Safe to call twice."""
        self.executor.shutdown(wait=False, cancel_futures=True)


def error_code(error: Exception) -> str:
    """Return AWS's code of a botocore ClientError, else the class's name."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def translate(error: Exception, what: str) -> ScoringError:
    """Return botocore's error in our words: `what` names the queue, table or object.

    What may pass (throttling, 5xx, connection lost, credentials that expire) is `StoreUnavailable`; what
    a deployment must correct is named in its message, and stays retryable: the job is not at fault.
    """
    code = error_code(error)
    if code in _MISSING:
        return NotFound(f"{what} does not exist in this account and region ({code})")
    if code in _DENIED:
        return StoreUnavailable(f"{what}: access denied ({code}): check the role's permissions")
    if code in _REGION:
        return StoreUnavailable(f"{what} is in another region ({code}): check AWS_REGION")
    if code in {"ValidationException", "InvalidParameterValue", "InvalidMessageContents"}:
        return InvalidRequest(f"{what}: {error}")
    if code in {"NoCredentialsError", "NoRegionError"}:
        return ConfigurationError(f"{what}: {error}")
    return StoreUnavailable(f"{what}: {code or type(error).__name__}: {error}")
