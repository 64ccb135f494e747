"""Standard queues: a retry is a new message, so that its count travels in it and its wait uses no in-flight quota."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from typing_extensions import override

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.adapters.sqs.messages import SqsDelivery, SqsMessage, own, resent, task_message
from mcp_queue.adapters.sqs.queue import SqsQueue
from mcp_queue.domain.delivery import Delivery, Requeued
from mcp_queue.domain.queues import MAX_SQS_DELAY
from mcp_queue.domain.task import Task

#: A retry adds at most this many bytes to a task: a higher count, and when it is due.
_GROWTH: Final = 256


class StandardQueue(SqsQueue):
    """A standard queue. A crash between sending a successor and deleting its message duplicates, and never loses."""

    @override
    async def complete(self, delivery: Delivery) -> None:
        if not self._channel.delete_later(delivery.receipt_handle):
            await super().complete(delivery)

    @override
    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        received = own(delivery)
        if not received.rewritable:
            await self._hide(delivery, delay)
            return Requeued.HIDDEN
        if not received.moved:
            if delay > MAX_SQS_DELAY:
                task = replace(task, scheduled_for=self._context.clock.now() + delay)
            message = self._as_message(task, delay)
            message = await self._payloads.fit(message, task, self._channel.info.max_message_bytes)
            await self._channel.send(message)
        await self._delete_moved(received)
        return Requeued.REWRITTEN

    @override
    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        received = own(delivery)
        if not received.rewritable:
            await self._return_unread(received, delay)
            return Requeued.HIDDEN
        return await self.retry(delivery, task, delay)

    @override
    async def release(self, delivery: Delivery) -> None:
        await self._return_unread(own(delivery), timedelta(0))

    @override
    async def _return_unread(self, delivery: SqsDelivery, delay: timedelta) -> None:
        # Nothing moves on from a dead-letter queue, and a copy would not say which queue SQS moved it from.
        if self._spec.dead_letter_queue is None or delivery.receive_count < self._max_receives:
            await self._hide(delivery, delay)
            return
        # The next receive would move it to the dead-letter queue, though nothing is wrong with it.
        if not delivery.moved:
            await self._channel.send(replace(resent(delivery), delay=limits.delay_seconds(delay)))
        await self._delete_moved(delivery)

    @override
    def _rewritable(self, delivery: SqsDelivery) -> bool:
        limit = self._channel.info.max_message_bytes
        if delivery.task is None or self._payloads.stores or delivery.wire.size <= limit - limits.RESERVE_BYTES:
            return True
        return self._as_message(delivery.task, timedelta(0)).size + _GROWTH <= limit

    @override
    def _message(self, task: Task) -> SqsMessage:
        delay = timedelta(0) if task.scheduled_for is None else task.scheduled_for - self._context.clock.now()
        return self._as_message(task, delay)

    def _as_message(self, task: Task, delay: timedelta) -> SqsMessage:
        return task_message(task, self._context.serializer, self._spec, delay=limits.delay_seconds(delay))
