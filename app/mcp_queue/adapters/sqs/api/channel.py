"""Makes the calls on one queue at SQS, single ones collected into batches."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.adapters.sqs.api.batcher import Batcher, BatchLimits
from mcp_queue.adapters.sqs.api.client import CallMetrics, PollingClient, SqsClient
from mcp_queue.adapters.sqs.api.errors import UnansweredError, error_of_entry, mapping_of
from mcp_queue.adapters.sqs.messages import SYSTEM_ATTRIBUTES, SqsMessage
from mcp_queue.adapters.sqs.setup.info import QueueInfo
from mcp_queue.domain.errors import QueueError
from mcp_queue.ports import Clock

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_SENDS: Final = BatchLimits()
# No client waits for these, so they may go in fuller batches.
_SETTLEMENTS: Final = BatchLimits(partial_calls=1)


@dataclass(frozen=True, slots=True)
class _Hide:
    handle: str
    seconds: int


class Channel:
    """One queue at SQS. All its sends, deletes and visibility changes go in batches."""

    def __init__(
        self,
        info: QueueInfo,
        calls: SqsClient,
        polls: PollingClient,
        *,
        clock: Clock,
        metrics: CallMetrics,
        random: Callable[[], float],
        delete_linger: timedelta = timedelta(0),
    ) -> None:
        """Let deletes wait for company for ``delete_linger``, while nobody waits for them."""
        self.info = info
        self._calls = calls
        self._polls = polls
        self._metrics = metrics
        # The limit of a batch is that of the largest message, which a queue may have lowered.
        sends = replace(_SENDS, size=info.max_message_bytes)
        self._sends: Batcher[SqsMessage, str] = Batcher(self._send_batch, clock=clock, limits=sends, random=random)
        deletes = replace(_SETTLEMENTS, linger=delete_linger)
        self._deletes: Batcher[str, None] = Batcher(self._delete_batch, clock=clock, limits=deletes, random=random)
        self._lingering: set[asyncio.Task[None]] | None = set() if delete_linger else None
        self._hides: Batcher[_Hide, None] = Batcher(self._hide_batch, clock=clock, limits=_SETTLEMENTS, random=random)

    async def send(self, message: SqsMessage) -> str:
        """Send a message; return its id at SQS. Messages of one FIFO group go in the order of the calls.

        Raises:
            InvalidTaskError: SQS refuses it.
            OverloadedError: too many wait already.
            BackendUnavailableError: SQS does not answer; it may have the message nevertheless.

        """
        limits.refuse_characters(message.body)
        limits.refuse_attributes(message.attributes)
        group = message.group if self.info.fifo else None
        return await self._sends.submit(message, size=message.size, group=group)

    async def delete(self, handle: str) -> None:
        """Delete a received message; raises ``VisibilityTimeoutError`` where SQS knows that its lease is lost."""
        await self._deletes.submit(handle)

    def delete_later(self, handle: str) -> bool:
        """Delete a received message when there is company; return whether that was begun.

        A message that is not deleted comes again: only what a ledger then knows to be done may be deleted so.
        """
        if self._lingering is None:
            return False
        deletion = asyncio.get_running_loop().create_task(self._delete_or_log(handle))
        self._lingering.add(deletion)
        deletion.add_done_callback(self._lingering.discard)
        return True

    def hurry(self) -> None:
        """Let no delete wait for company, from now on."""
        self._deletes.hurry()

    async def hide(self, handle: str, seconds: int) -> None:
        """Hide a received message for ``seconds`` from now.

        Raises:
            VisibilityTimeoutError: its lease is lost, or it was hidden for 12 h in all.

        """
        await self._hides.submit(_Hide(handle, seconds))

    async def receive(self, limit: int, wait: timedelta, lease: timedelta) -> "list[MessageTypeDef]":
        """Receive up to ``limit`` messages, each hidden for ``lease``."""
        request: dict[str, Any] = {
            "QueueUrl": self.info.url,
            "MaxNumberOfMessages": limit,
            "WaitTimeSeconds": limits.whole_seconds(wait),
            "VisibilityTimeout": limits.whole_seconds(lease),
            "MessageSystemAttributeNames": SYSTEM_ATTRIBUTES,
            "MessageAttributeNames": ["All"],
        }
        if not self.info.fifo:
            return await self._receive(request, wait)
        # With the same attempt id, a receive whose answer was lost is answered again instead of hiding what it got.
        request["ReceiveRequestAttemptId"] = uuid.uuid4().hex
        try:
            return await self._receive(request, wait)
        except UnansweredError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
        return await self._receive(request, wait)

    async def attributes(self, *names: str) -> Mapping[str, str]:
        """Return the queue's attributes of ``names``."""
        answer = await self._call("GetQueueAttributes", AttributeNames=list(names))
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        return attributes

    async def purge(self) -> None:
        """Ask SQS to delete everything; raises ``RateLimitedError`` within 60 s of the last time."""
        await self._call("PurgeQueue")

    async def aclose(self) -> None:
        """Refuse what waits, and return when no call is under way. Deletes that were put off are made."""
        self.hurry()
        if self._lingering:
            await asyncio.wait(self._lingering)
        for batcher in (self._sends, self._deletes, self._hides):
            await batcher.aclose()

    async def _delete_or_log(self, handle: str) -> None:
        try:
            await self.delete(handle)
        except QueueError as error:
            logger.warning("a message that is done comes again: %s", error, extra={"arn": self.info.arn})

    async def _call(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        return await self._calls.call(operation, {"QueueUrl": self.info.url, **parameters})

    async def _receive(self, parameters: Mapping[str, Any], wait: timedelta) -> "list[MessageTypeDef]":
        answer = await self._polls.receive(parameters, wait)
        messages: list[MessageTypeDef] = answer.get("Messages", [])
        return messages

    async def _send_batch(self, messages: Sequence[SqsMessage]) -> Sequence[str | QueueError]:
        entries = [_send_entry(str(index), message) for index, message in enumerate(messages)]
        answer = await self._call("SendMessageBatch", Entries=entries)
        return self._verdicts("SendMessageBatch", answer, len(entries), lambda entry: str(entry["MessageId"]))

    async def _delete_batch(self, handles: Sequence[str]) -> Sequence[QueueError | None]:
        entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(handles)]
        answer = await self._call("DeleteMessageBatch", Entries=entries)
        return self._verdicts("DeleteMessageBatch", answer, len(entries), lambda _: None, of_handle=True)

    async def _hide_batch(self, changes: Sequence[_Hide]) -> Sequence[QueueError | None]:
        entries = [
            {"Id": str(index), "ReceiptHandle": change.handle, "VisibilityTimeout": change.seconds}
            for index, change in enumerate(changes)
        ]
        answer = await self._call("ChangeMessageVisibilityBatch", Entries=entries)
        return self._verdicts("ChangeMessageVisibilityBatch", answer, len(entries), lambda _: None, of_handle=True)

    def _verdicts(
        self,
        operation: str,
        answer: Mapping[str, Any],
        count: int,
        read: Callable[[Mapping[str, Any]], Answer],
        *,
        of_handle: bool = False,
    ) -> list[Answer | QueueError]:
        """Return each entry's own verdict: the call's HTTP 200 says nothing about them."""
        self._metrics.sqs_batch(operation, count)
        verdicts: list[Answer | QueueError] = [UnansweredError("SQS gave no verdict")] * count
        for entry in answer.get("Successful", ()):
            verdicts[int(entry["Id"])] = read(entry)
        for entry in answer.get("Failed", ()):
            self._metrics.sqs_call(operation, mapping_of(str(entry.get("Code"))).outcome)
            verdicts[int(entry["Id"])] = error_of_entry(entry, of_handle=of_handle)
        return verdicts


def _send_entry(index: str, message: SqsMessage) -> dict[str, Any]:
    entry = {"Id": index, "MessageBody": message.body, "MessageAttributes": message.attributes}
    optional = {
        "DelaySeconds": message.delay or None,
        "MessageGroupId": message.group,
        "MessageDeduplicationId": message.deduplication_id,
    }
    return entry | {name: value for name, value in optional.items() if value is not None}
