"""Stores bodies that are too large for a message, with a pointer in their place.

The pointer has the form of the Amazon SQS Extended Client Library: its Java and Python versions read it, and the other
way round.
"""

from dataclasses import replace
from typing import Final

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.adapters.sqs.messages import SqsMessage, number, text
from mcp_queue.domain.delivery import REDRIVE_COUNT, TASK_ID
from mcp_queue.domain.errors import InvalidTaskError, MalformedJsonError, NotFoundError, TaskTooLargeError
from mcp_queue.domain.formats.strict_json import dumps, loads
from mcp_queue.domain.task import Task
from mcp_queue.ports import PayloadPointer, PayloadStore

SIZE_ATTRIBUTE: Final = "ExtendedPayloadSize"
_OLD_SIZE_ATTRIBUTE = "SQSLargePayloadSize"
_POINTER_CLASS = "software.amazon.payloadoffloading.PayloadS3Pointer"
_OLD_POINTER_CLASS = "com.amazon.sqs.javamessaging.MessageS3Pointer"


class UnreadablePayloadError(InvalidTaskError):
    """The message points to a body that cannot be read."""


class Payloads:
    """Moves bodies of one queue to the store and back; without a bucket, large ones are refused."""

    def __init__(self, store: PayloadStore | None, bucket: str | None) -> None:
        """Store large bodies in ``bucket``; read them from every bucket that ``store`` allows."""
        self._store = store
        self._bucket = bucket

    @property
    def stores(self) -> bool:
        """Whether a body of any size fits."""
        return self._store is not None and self._bucket is not None

    async def fit(self, message: SqsMessage, task: Task, limit: int, *, keep: bool = False) -> SqsMessage:
        """Return the message of ``task`` in at most ``limit`` bytes.

        ``keep``: its body must outlive the store's usual time.

        Raises:
            TaskTooLargeError: it is larger, and there is no bucket.
            BackendUnavailableError: the store does not answer.

        """
        size = message.size
        if size <= limit:
            return message
        if self._store is None or self._bucket is None:
            raise TaskTooLargeError(limit, size)
        pointer = await self._store.put(self._bucket, message.body, keep=keep)
        beside = {SIZE_ATTRIBUTE: number(len(message.body.encode()))}
        if limits.acceptable(task.id):
            beside[TASK_ID] = text(task.id)
        if task.redrive_count:
            beside[REDRIVE_COUNT] = number(task.redrive_count)
        return replace(message, body=_written(pointer), attributes={**message.attributes, **beside})

    @staticmethod
    def stored(message: SqsMessage) -> bool:
        """Return whether the body of ``message`` is a pointer, or should be one."""
        return SIZE_ATTRIBUTE in message.attributes or _OLD_SIZE_ATTRIBUTE in message.attributes

    async def body_of(self, message: SqsMessage) -> str:
        """Return the true body of a received message that has it stored.

        Raises:
            UnreadablePayloadError: there is no store, or nothing where the pointer points to.
            BackendUnavailableError: the store does not answer.

        """
        pointer = _pointer_in(message.body)
        if self._store is None:
            reason = f"the body lies in s3://{pointer.bucket}/{pointer.key}, and no bucket is configured"
            raise UnreadablePayloadError(reason)
        try:
            return await self._store.get(pointer)
        except (NotFoundError, InvalidTaskError) as error:
            raise UnreadablePayloadError(str(error)) from error

    async def keep(self, message: SqsMessage) -> None:
        """Save the body that a dead letter's message points to, if it does, from the store's expiry."""
        if self._store is None or not self.stored(message):
            return
        try:
            pointer = _pointer_in(message.body)
        except UnreadablePayloadError:
            return
        await self._store.keep(pointer)


def _pointer_in(body: str) -> PayloadPointer:
    try:
        value = loads(body)
    except MalformedJsonError as error:
        raise UnreadablePayloadError("the body should be a pointer to its payload, and is not JSON") from error
    match value:
        case [str(kind), {"s3BucketName": str(bucket), "s3Key": str(key)}] if kind in (
            _POINTER_CLASS,
            _OLD_POINTER_CLASS,
        ):
            return PayloadPointer(bucket, key)
        case _:
            raise UnreadablePayloadError("the body should be a pointer to its payload, and is none")


def _written(pointer: PayloadPointer) -> str:
    members = {"s3BucketName": pointer.bucket, "s3Key": pointer.key}
    return dumps([_POINTER_CLASS, members])
