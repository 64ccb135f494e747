"""The common base of standard and FIFO queues at SQS."""

import abc
import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from typing_extensions import override

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.adapters.sqs.api.channel import Channel
from mcp_queue.adapters.sqs.api.errors import UnansweredError
from mcp_queue.adapters.sqs.cloudwatch import CloudWatchAges
from mcp_queue.adapters.sqs.dead_letters import DeadLetterWriter
from mcp_queue.adapters.sqs.messages import SqsDelivery, SqsMessage, own, utf8_length
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.adapters.sqs.receiving import SqsReceiver
from mcp_queue.adapters.sqs.stats import SHOWN, ObservedAge, counts_of
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    FieldError,
    InvalidTaskError,
    NotSupportedError,
    QueueError,
    TaskTooLargeError,
    VisibilityTimeoutError,
)
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, PayloadStore, Queue

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsContext:
    """The parts that all queues of one backend share. ``names`` maps ARNs to public names."""

    serializer: TaskSerializer
    store: PayloadStore | None
    clock: Clock
    names: Mapping[str, str]
    ages: CloudWatchAges | None = None


class SqsQueue(Queue):
    """A queue at SQS. Its kinds differ in how they give a message back.

    Stats may lag by a minute.
    """

    def __init__(
        self, spec: QueueSpec, channel: Channel, dead_letters: DeadLetterWriter | None, context: SqsContext
    ) -> None:
        self._spec = spec
        self._channel = channel
        self._dead_letters = dead_letters
        self._context = context
        self._payloads = Payloads(context.store, spec.payload_bucket)
        self._observed_age = ObservedAge(context.clock)
        self._largest = self._largest_body()
        self._receiver = SqsReceiver(
            self._spec,
            channel,
            serializer=context.serializer,
            payloads=self._payloads,
            clock=context.clock,
            names=context.names,
            return_unread=self._return_unread,
        )

    @property
    @override
    def spec(self) -> QueueSpec:
        return self._spec

    @property
    @override
    def traits(self) -> QueueTraits:
        info = self._channel.info
        return replace(
            limits.TRAITS,
            deduplicates_by_group=info.deduplicates_by_group,
        )

    @override
    async def enqueue(self, task: Task) -> Accepted:
        return await self._send(await self._prepared(task))

    @override
    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        # All are prepared before the first is sent, so that none overtakes a large body on its way to the store.
        prepared = await _gathered([self._prepared(task) for task in tasks])
        return [_verdict(answer) for answer in await _all([self._sent_or_refused(one) for one in prepared])]

    @override
    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        deliveries = await self._receiver.receive(limit, wait)
        self._observed_age.observe(deliveries)
        for delivery in deliveries:
            delivery.rewritable = self._rewritable(delivery)
        return list(deliveries)

    @override
    def stop_waiting(self) -> None:
        # A poll that is given up hides the messages it was about to bring until their lease ends, so it goes on.
        self._receiver.stop_waiting()
        self._channel.hurry()

    @override
    async def complete(self, delivery: Delivery) -> None:
        await self._channel.delete(delivery.receipt_handle)

    @override
    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        # Whether an attempt was counted stands in ``task``.
        return await self.retry(delivery, task, delay)

    @override
    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        await self._channel.hide(delivery.receipt_handle, limits.lease_seconds(lease, self._held(delivery)))

    @override
    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        if self._dead_letters is None:
            message = f"queue {self._spec.name!r} has no dead-letter queue"
            raise NotSupportedError(message)
        received = own(delivery)
        if not received.moved:
            await self._dead_letters.put(received, dead_letter)
            received.moved = True
        await self.complete(delivery)

    @override
    async def stats(self) -> QueueStats:
        attributes = await self._channel.attributes("All")
        waiting, in_flight, delayed = counts_of(attributes)
        return QueueStats(
            queue_name=self._spec.public_name,
            approximate_messages=waiting,
            inflight_messages=in_flight,
            delayed_messages=delayed,
            oldest_message_age=await self._oldest_age() if waiting else None,
            dead_letters=None if self._dead_letters is None else await self._dead_letters.count(),
            attributes={name: value for name, value in attributes.items() if name in SHOWN},
        )

    @override
    async def purge(self) -> None:
        await self._channel.purge()

    @override
    async def ping(self) -> None:
        try:
            await self._channel.attributes("QueueArn")
        except UnansweredError:
            raise
        except QueueError as error:
            # A missing queue, missing rights and throttling are answers.
            message = f"SQS refuses: {error}"
            raise BackendRefusedError(message) from error

    async def aclose(self) -> None:
        """Return when no abandoned poll is under way."""
        await self._receiver.aclose()

    @property
    def _max_receives(self) -> int:
        """How many receives of a message are sure to leave it in this queue."""
        redrive = self._channel.info.redrive
        allowed = self._spec.max_receive_count
        return allowed if redrive is None else min(allowed, redrive.max_receive_count)

    @abc.abstractmethod
    async def _return_unread(self, delivery: SqsDelivery, delay: timedelta) -> None:
        """Give a message back unread, to be received again after ``delay``."""

    @abc.abstractmethod
    def _rewritable(self, delivery: SqsDelivery) -> bool:
        """Return whether the message can be sent again as the task that it is."""

    @abc.abstractmethod
    def _message(self, task: Task) -> SqsMessage:
        """Return the message of a task that is enqueued.

        Raises:
            InvalidTaskError: this queue cannot take the task.

        """

    async def _prepared(self, task: Task) -> SqsMessage:
        if task.group is not None and limits.valid_id(task.group) is None:
            raise refused("group", "SQS takes groups of 1 to 128 letters, digits and punctuation marks of ASCII")
        message = self._message(task)
        size = utf8_length(message.body)
        if size > self._spec.max_task_bytes and not task.redrive_count:
            raise TaskTooLargeError(self._spec.max_task_bytes, size)
        # A redriven task was taken before, and has grown by its count: it may use some of what was kept free.
        room = limits.RESERVE_BYTES // 2 if task.redrive_count else 0
        return await self._payloads.fit(message, task, self._largest + room)

    async def _send(self, message: SqsMessage) -> Accepted:
        return Accepted(message_id=await self._channel.send(message))

    async def _sent_or_refused(self, prepared: SqsMessage | QueueError) -> Accepted:
        if isinstance(prepared, QueueError):
            raise prepared
        return await self._send(prepared)

    async def _hide(self, delivery: Delivery, delay: timedelta) -> None:
        """Hide a message for ``delay``, or for what is left of its 12 hours."""
        left = limits.lease_left(self._held(delivery))
        await self._channel.hide(delivery.receipt_handle, limits.whole_seconds(min(delay, left)))

    async def _delete_moved(self, delivery: SqsDelivery) -> None:
        """Delete a message whose successor was sent; where its lease is lost, what is left is a stale copy of it."""
        delivery.moved = True
        try:
            await self.complete(delivery)
        except VisibilityTimeoutError:
            return

    def _held(self, delivery: Delivery) -> timedelta:
        return timedelta(seconds=self._context.clock.monotonic() - delivery.leased_at)

    async def _oldest_age(self) -> timedelta | None:
        if self._spec.cloudwatch_age and self._context.ages is not None:
            return await self._context.ages.read(self._channel.info.arn.rpartition(":")[2])
        return self._observed_age.read()

    def _largest_body(self) -> int:
        largest = self._channel.info.max_message_bytes
        if self._dead_letters is not None:
            largest = min(largest, self._dead_letters.channel.info.max_message_bytes)
        # Queues with a limit of a few KiB keep at least half of it for their tasks.
        return largest - min(limits.RESERVE_BYTES, largest // 2)


def refused(member: str, reason: str) -> InvalidTaskError:
    """Return the error for one member of a task."""
    return InvalidTaskError(f"{member}: {reason}", (FieldError(("body", member), reason),))


async def _gathered(calls: Sequence[Awaitable[Result]]) -> list[Result | QueueError]:
    """Await all; a ``QueueError`` is the verdict of its own call alone, other errors are raised."""
    results = await _all(calls)
    verdicts: list[Result | QueueError] = []
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, QueueError):
            raise result
        verdicts.append(result)
    return verdicts


async def _all(calls: Sequence[Awaitable[Result]]) -> list[Result | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


def _verdict(answer: Accepted | BaseException) -> Accepted | QueueError:
    """Return ``answer`` as the verdict of its own task: others were sent, and raising would hide that."""
    if isinstance(answer, Accepted | QueueError):
        return answer
    logger.error("unexpected failure of a send", exc_info=answer)
    return BackendUnavailableError("it is not known whether SQS has the task")
