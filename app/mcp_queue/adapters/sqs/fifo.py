"""FIFO queues: a message is never sent again, since that would cost its place in its group."""

from datetime import timedelta

from mcp_queue.adapters.sqs.messages import SqsDelivery, SqsMessage, task_message
from mcp_queue.adapters.sqs.queue import SqsQueue, refused
from mcp_queue.adapters.sqs.setup.info import RECEIVES_PER_ATTEMPT
from mcp_queue.domain.delivery import Delivery, Requeued
from mcp_queue.domain.errors import DelayNotSupportedError
from mcp_queue.domain.queues import QueueTraits
from mcp_queue.domain.task import Task

# What is due so soon is sent at once: no consumer waits for less.
_NOW = timedelta(seconds=1)


class FifoQueue(SqsQueue):
    """A FIFO queue: a message that waits for its retry holds its group."""

    @property
    def traits(self) -> QueueTraits:
        """SQS holds no single message of a FIFO queue back."""
        return QueueTraits(
            rewrites=False, backend_redrives=self._channel.info.redrive is not None, max_delay=timedelta(0)
        )

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:  # noqa: ARG002  # the message keeps its body
        """Hide the message for ``delay``, at most for what is left of its 12 hours."""
        await self._hide(delivery, delay)
        return Requeued.HIDDEN

    async def release(self, delivery: Delivery) -> None:
        """Make the message visible at once."""
        await self._hide(delivery, timedelta(0))

    async def _return_unread(self, delivery: SqsDelivery, delay: timedelta) -> None:
        await self._hide(delivery, delay)

    def _message(self, task: Task) -> SqsMessage:
        if task.scheduled_for is not None and task.scheduled_for - self._tools.clock.now() > _NOW:
            raise DelayNotSupportedError("a FIFO queue at SQS holds no task back: that takes the ledger")
        retries = max(self._spec.max_retries, self._spec.max_receive_count // RECEIVES_PER_ATTEMPT - 1)
        if task.max_retries > retries:
            raise refused("max_retries", f"this queue delivers a task often enough for {retries}, not more")
        return task_message(task, self._tools.serializer, self._spec)
