"""Attachments in S3."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from plexus_scoring.model.errors import (
    InvalidRequest,
    NotFound,
    ScoringError,
    StoreUnavailable,
    shorten,
)
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.model.result import check_no_result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_MAX_KEY_BYTES = 1_024
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "NotFound"}
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_MALFORMED = {
    "KeyTooLongError",
    "InvalidBucketName",
    "InvalidURI",
    "InvalidArgument",
    "MethodNotAllowed",
}
_ELSEWHERE = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}


class S3Attachments:
    """An `AttachmentStore` on an S3 bucket of our own; `read` also reads others' buckets.

    Args:
        client: An S3 client, safe to call from threads.
        executor: The threads that may call it.
        bucket: Our bucket.
        max_bytes: Largest object that is read; None: no limit.
    """

    def __init__(
        self, client: S3Client, executor: Executor, bucket: str, *, max_bytes: int | None = None
    ) -> None:
        self._client = client
        self._executor = executor
        self._bucket = bucket
        self._max_bytes = max_bytes

    async def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object of our own bucket."""
        ref = ObjectRef(self._bucket, key)
        await self._call(
            ref,
            partial(
                self._client.put_object,
                Bucket=ref.bucket,
                Key=ref.key,
                Body=body,
                ContentType=content_type,
            ),
            own=True,
        )

    async def get(self, key: str) -> bytes:
        """Read an object of our own bucket. Raises NotFound."""
        ref = ObjectRef(self._bucket, key)
        return await self._call(ref, partial(self._fetch, ref), own=True)

    async def read(self, ref: ObjectRef) -> bytes:
        """Read an object of any bucket that our role may read. Raises NotFound, InvalidRequest."""
        # Of any bucket: ours may have other names, those of its access points.
        check_no_result(ref.key)
        return await self._call(ref, partial(self._fetch, ref), own=ref.bucket == self._bucket)

    async def aclose(self) -> None:
        """Close nothing: client and threads belong to whoever made them."""

    def _fetch(self, ref: ObjectRef) -> bytes:
        version: dict[str, Any] = {} if ref.version is None else {"VersionId": ref.version}
        answer = self._client.get_object(Bucket=ref.bucket, Key=ref.key, **version)
        with answer["Body"] as stream:
            if self._max_bytes is not None and answer["ContentLength"] > self._max_bytes:
                raise InvalidRequest(
                    f"s3://{ref.bucket}/{ref.key} has {answer['ContentLength']:,} bytes; "
                    f"the limit is {self._max_bytes:,}"
                )
            return stream.read()

    async def _call(self, ref: ObjectRef, call: Callable[[], T], *, own: bool) -> T:
        if len(ref.key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
            raise InvalidRequest(f"key {ref.key[:80]!a}… is longer than {_MAX_KEY_BYTES} bytes")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, call)
        except (UnicodeEncodeError, ParamValidationError) as error:
            raise InvalidRequest(
                f"bucket {ref.bucket!a}, key {ref.key!a} is no S3 object's name"
            ) from error
        except ClientError as error:
            raise _translate(error, ref, own=own) from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(
                f"s3://{ref.bucket}/{ref.key}: {shorten(str(error), 300)}"
            ) from error


def _translate(error: ClientError, ref: ObjectRef, *, own: bool) -> ScoringError:
    """Return what a failed call means.

    That our own bucket denies or is missing is a fault of the deployment and may pass; that a foreign one does
    is a fault of the request.
    """
    code = error.response["Error"].get("Code", "")
    place = f"s3://{ref.bucket}/{ref.key}"
    if code in {"NoSuchKey", "NoSuchVersion"} or (code in _MISSING and not own):
        return NotFound(f"{place} does not exist ({code})")
    if code in _MALFORMED:
        return InvalidRequest(f"{place} is no S3 object's name ({code})")
    if not own and code in _DENIED:
        return InvalidRequest(
            f"{place}: access denied ({code}); the role needs s3:GetObject on it, "
            "and s3:ListBucket to tell missing from denied"
        )
    if not own and code in _ELSEWHERE:
        return InvalidRequest(f"{place}: the bucket lies in another region or partition ({code})")
    return StoreUnavailable(
        f"{place}: {code}: {shorten(error.response['Error'].get('Message', ''), 300)}"
    )
