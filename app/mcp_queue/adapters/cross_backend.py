"""A queue whose dead-letter queue lies on another backend."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from typing_extensions import override

from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue


class CrossBackendQueue(Queue):
    """Wraps a queue and sends its dead letters to a queue of another backend.

    No backend moves messages there by itself, so the consumer enforces ``max_receive_count``.
    """

    def __init__(self, queue: Queue, dead_letters: Queue) -> None:
        self._queue = queue
        self._dead_letters = dead_letters

    @property
    @override
    def spec(self) -> QueueSpec:
        return replace(self._queue.spec, dead_letter_queue=self._dead_letters.spec.name)

    @property
    @override
    def traits(self) -> QueueTraits:
        return replace(self._queue.traits, backend_redrives=False)

    @override
    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Send the dead letter, then delete the message: a crash in between duplicates it.

        A body that is not a task becomes the payload of one, since only tasks can be sent.
        """
        await self._dead_letters.enqueue(dead_letter.task or _envelope(delivery, dead_letter))
        await self._queue.complete(delivery)

    @override
    async def enqueue(self, task: Task) -> Accepted:
        return await self._queue.enqueue(task)

    @override
    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        return await self._queue.enqueue_batch(tasks)

    @override
    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        return await self._queue.receive(limit, wait)

    @override
    def stop_waiting(self) -> None:
        self._queue.stop_waiting()

    @override
    async def complete(self, delivery: Delivery) -> None:
        await self._queue.complete(delivery)

    @override
    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        return await self._queue.retry(delivery, task, delay)

    @override
    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        return await self._queue.defer(delivery, task, delay)

    @override
    async def release(self, delivery: Delivery) -> None:
        await self._queue.release(delivery)

    @override
    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        await self._queue.extend(delivery, lease)

    @override
    async def stats(self) -> QueueStats:
        return await self._queue.stats()

    @override
    async def purge(self) -> int | None:
        return await self._queue.purge()

    @override
    async def ping(self) -> None:
        await self._queue.ping()


def _envelope(delivery: Delivery, dead_letter: DeadLetterMessage) -> Task:
    raw = Task(
        id=delivery.task_id,
        type="unparsable",
        queue=dead_letter.original_queue,
        created_at=dead_letter.failed_at,
        payload=delivery.body,
    )
    marked = dead_letter_message(raw, dead_letter.reason, dead_letter.failed_at, dead_letter.original_queue).task
    assert marked is not None, "a task was given"
    return marked
