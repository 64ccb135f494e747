"""Sends dead letters to a dead-letter queue at SQS."""

from dataclasses import replace

from typing_extensions import override

from mcp_queue.adapters.sqs.api.channel import Channel
from mcp_queue.adapters.sqs.messages import SqsDelivery, SqsMessage, raw_dead_letter, task_dead_letter, wire_of
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.adapters.sqs.stats import COUNTS, counts_of
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import BackendUnavailableError, TaskTooLargeError
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import DeadLetterSink


class DeadLetterWriter(DeadLetterSink):
    """A dead-letter queue, seen from a queue whose dead letters it takes: of either kind, at SQS or elsewhere."""

    def __init__(
        self, spec: QueueSpec, channel: Channel, *, shared: bool, serializer: TaskSerializer, payloads: Payloads
    ) -> None:
        """Send to ``channel``, the queue of ``spec``; ``shared``: it takes the dead letters of other queues too."""
        self._spec = spec
        self.channel = channel
        self._shared = shared
        self._serializer = serializer
        self._payloads = payloads

    @override
    async def put(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        message = None if dead_letter.task is None else await self._as_task(dead_letter, dead_letter.task, delivery)
        if message is None:
            await self._keep(delivery)
            message = self._as_it_came(dead_letter, delivery)
        await self.channel.send(message)

    async def count(self) -> int | None:
        """Return the number of dead letters, ``None`` where the queue takes those of several queues."""
        return None if self._shared else sum(counts_of(await self.channel.attributes(*COUNTS)))

    async def _keep(self, delivery: Delivery) -> None:
        try:
            await self._payloads.keep(wire_of(delivery))
        except BackendUnavailableError:
            if not isinstance(delivery, SqsDelivery) or not delivery.unread:
                raise

    async def _as_task(self, dead_letter: DeadLetterMessage, task: Task, delivery: Delivery) -> SqsMessage | None:
        message = task_dead_letter(dead_letter, delivery, self._serializer, self._spec)
        try:
            return await self._payloads.fit(message, task, self.channel.info.max_message_bytes, keep=True)
        except TaskTooLargeError:
            return None

    def _as_it_came(self, dead_letter: DeadLetterMessage, delivery: Delivery) -> SqsMessage:
        message = raw_dead_letter(dead_letter, delivery, self._spec)
        if message.size <= self.channel.info.max_message_bytes:
            return message
        # A body that another client made as large as SQS allows leaves no room for a reason.
        return replace(message, attributes={})
