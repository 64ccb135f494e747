"""Stores bodies that are too large for a message as objects in S3.

Objects are not deleted when their task ends: a duplicate of its message may still need them. A lifecycle rule of the
bucket does that for objects tagged ``mcp-queue=passing``, after longer than any queue keeps a message; dead letters
carry ``mcp-queue=kept`` and stay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar
from uuid import uuid4

from aiobotocore.config import AioConfig
from aiohttp import ClientError as TransportError
from botocore.exceptions import BotoCoreError, ClientError
from typing_extensions import override

from mcp_queue.adapters.aws import aws_session
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    InvalidTaskError,
    NotFoundError,
    PayloadDeniedError,
    TaskTooLargeError,
)
from mcp_queue.ports import PayloadPointer, PayloadStore

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

TAG: Final = "mcp-queue"
#: Longest that one call may take, tries of the transport included: a send waits for it, and has 30 s in all.
CALL_DEADLINE: Final = timedelta(seconds=8)
_GONE = "NoSuchKey"  # a missing bucket is the operator's to mend
_DENIED = "AccessDenied"  # also for a missing key, to those who may not list the bucket


class S3PayloadStore(PayloadStore):
    """Keeps bodies in buckets of S3, open between entering and leaving."""

    def __init__(
        self,
        buckets: Collection[str],
        *,
        max_bytes: int,
        region: str | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        """Read from ``buckets`` only, whatever a message points to, and no object over ``max_bytes``.

        Objects are encrypted as the bucket says: by S3's own keys at least, by a KMS key where it names one.
        """
        self._buckets = frozenset(buckets)
        self._max_bytes = max_bytes
        self._region = region
        self._endpoint_url = endpoint_url

    async def __aenter__(self) -> Self:
        session = aws_session()
        config = AioConfig(connect_timeout=3, read_timeout=6, retries={"mode": "standard"})
        async with AsyncExitStack() as stack:
            client = session.create_client(
                "s3", region_name=self._region, endpoint_url=self._endpoint_url, config=config
            )
            self._s3: S3Client = await stack.enter_async_context(client)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @override
    async def put(self, bucket: str, body: str, *, keep: bool = False) -> PayloadPointer:
        pointer = PayloadPointer(bucket, str(uuid4()))
        await self._call(
            lambda: self._s3.put_object(
                Bucket=pointer.bucket,
                Key=pointer.key,
                Body=body.encode(),
                ContentType="application/json",
                Tagging=f"{TAG}={'kept' if keep else 'passing'}",
            )
        )
        return pointer

    @override
    async def get(self, pointer: PayloadPointer) -> str:
        self._check(pointer)
        content = await self._call(lambda: self._read(pointer))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            message = f"s3://{pointer.bucket}/{pointer.key} is not UTF-8"
            raise InvalidTaskError(message) from error

    @override
    async def keep(self, pointer: PayloadPointer) -> None:
        try:
            self._check(pointer)
            await self._call(
                lambda: self._s3.put_object_tagging(
                    Bucket=pointer.bucket, Key=pointer.key, Tagging={"TagSet": [{"Key": TAG, "Value": "kept"}]}
                )
            )
        except NotFoundError:
            return

    def _check(self, pointer: PayloadPointer) -> None:
        # Whoever may write to the queue would otherwise read, by our rights, from any bucket.
        if pointer.bucket not in self._buckets:
            message = f"s3://{pointer.bucket}/{pointer.key} lies in no bucket of this configuration"
            raise NotFoundError(message)

    async def _read(self, pointer: PayloadPointer) -> bytes:
        answer = await self._s3.get_object(Bucket=pointer.bucket, Key=pointer.key)
        async with answer["Body"] as stream:
            size = answer["ContentLength"]
            if size > self._max_bytes:
                raise TaskTooLargeError(self._max_bytes, size)
            return await stream.read()

    async def _call(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(CALL_DEADLINE.total_seconds()):
                return await request()
        except ClientError as error:
            message = f"S3: {error}"
            code = error.response.get("Error", {}).get("Code")
            if code == _GONE:
                raise NotFoundError(message) from error
            if code == _DENIED:
                raise PayloadDeniedError(message) from error
            raise BackendUnavailableError(message) from error
        except (BotoCoreError, TransportError, OSError) as error:  # a body that breaks off is aiohttp's own error
            message = f"no answer from S3: {str(error) or f'none within {CALL_DEADLINE}'}"
            raise BackendUnavailableError(message) from error
