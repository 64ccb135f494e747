"""A queue whose dead-letter queue lies on another backend."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue


class ForeignDeadLetters:
    """A ``Queue`` that is another one, but for where its dead letters go.

    The backend itself moves nothing there: the consumer keeps ``max_receive_count``.
    """

    def __init__(self, queue: Queue, dead_letters: Queue) -> None:
        """Send what ``queue`` dead-letters to ``dead_letters``."""
        self._queue = queue
        self._dead_letters = dead_letters

    @property
    def spec(self) -> QueueSpec:
        """The configuration of the queue."""
        return replace(self._queue.spec, dead_letter_queue=self._dead_letters.spec.name)

    @property
    def traits(self) -> QueueTraits:
        """Those of the queue, which redrives nothing."""
        return replace(self._queue.traits, backend_redrives=False)

    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Send, then delete: a crash in between duplicates.

        A body that is no task travels as the payload of one, since only tasks can be sent.
        """
        await self._dead_letters.enqueue(dead_letter.task or _envelope(delivery, dead_letter))
        await self._queue.complete(delivery)

    async def enqueue(self, task: Task) -> Accepted:
        """Put a task into the queue."""
        return await self._queue.enqueue(task)

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put tasks into the queue."""
        return await self._queue.enqueue_batch(tasks)

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Receive from the queue."""
        return await self._queue.receive(limit, wait)

    def stop_waiting(self) -> None:
        """Let receives return without waiting."""
        self._queue.stop_waiting()

    async def complete(self, delivery: Delivery) -> None:
        """Delete the message."""
        await self._queue.complete(delivery)

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back for its next attempt."""
        return await self._queue.retry(delivery, task, delay)

    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back to run later."""
        return await self._queue.defer(delivery, task, delay)

    async def release(self, delivery: Delivery) -> None:
        """Give the message back unprocessed."""
        await self._queue.release(delivery)

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Extend the lease."""
        await self._queue.extend(delivery, lease)

    async def stats(self) -> QueueStats:
        """Count what lies in the queue."""
        return await self._queue.stats()

    async def purge(self) -> int | None:
        """Purge the queue."""
        return await self._queue.purge()

    async def ping(self) -> None:
        """Return if the queue's backend answers."""
        await self._queue.ping()


def _envelope(delivery: Delivery, dead_letter: DeadLetterMessage) -> Task:
    raw = Task(
        id=delivery.message_id,
        type="unparsable",
        queue=dead_letter.original_queue,
        created_at=dead_letter.failed_at,
        payload=delivery.body,
    )
    marked = dead_letter_message(raw, dead_letter.reason, dead_letter.failed_at, dead_letter.original_queue).task
    assert marked is not None, "a task was given"
    return marked
