"""FIFO queues: a message is never sent again, since that would cost its place in its group."""

from dataclasses import replace
from datetime import timedelta

from typing_extensions import override

from mcp_queue.adapters.sqs.messages import SqsDelivery, SqsMessage, task_message
from mcp_queue.adapters.sqs.queue import SqsQueue, refused
from mcp_queue.domain.delivery import Delivery, Requeued
from mcp_queue.domain.errors import DelayNotSupportedError
from mcp_queue.domain.queues import QueueTraits, fifo_retries_within
from mcp_queue.domain.task import Task

# A task that is due so soon is sent at once.
_NOW = timedelta(seconds=1)


class FifoQueue(SqsQueue):
    """A FIFO queue: a message that waits for its retry holds its group."""

    @property
    @override
    def traits(self) -> QueueTraits:
        return replace(super().traits, rewrites=False, max_delay=timedelta(0))

    @override
    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        # For at most what is left of its 12 hours; the message keeps its body.
        await self._hide(delivery, delay)
        return Requeued.HIDDEN

    @override
    async def release(self, delivery: Delivery) -> None:
        await self._hide(delivery, timedelta(0))

    @override
    async def _return_unread(self, delivery: SqsDelivery, delay: timedelta) -> None:
        await self._hide(delivery, delay)

    @override
    def _rewritable(self, delivery: SqsDelivery) -> bool:
        return False

    @override
    def _message(self, task: Task) -> SqsMessage:
        if task.scheduled_for is not None and task.scheduled_for - self._context.clock.now() > _NOW:
            raise DelayNotSupportedError("a FIFO queue at SQS holds no task back: that takes the ledger")
        retries = max(self._spec.max_retries, fifo_retries_within(self._max_receives))
        if task.max_retries > retries:
            raise refused("max_retries", f"this queue delivers a task often enough for {retries}, not more")
        return task_message(task, self._context.serializer, self._spec)
