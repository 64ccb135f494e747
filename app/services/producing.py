"""The half of a queue that the gateway uses."""

from collections.abc import Sequence
from typing import Protocol

from app.domain.delivery import Accepted
from app.domain.errors import QueueError
from app.domain.queues import QueueSpec, QueueStats
from app.domain.task import Task


class ProducerQueue(Protocol):
    """What ``Queue`` promises to producers; a ``PriorityQueue`` promises no more."""

    @property
    def spec(self) -> QueueSpec:
        """The configuration of this queue."""
        ...

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into the queue; see ``Queue.enqueue``."""
        ...

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into the queue; see ``Queue.enqueue_batch``."""
        ...

    async def stats(self) -> QueueStats:
        """Count what lies in the queue."""
        ...

    async def purge(self) -> int | None:
        """Delete what is not in flight; see ``Queue.purge``."""
        ...

    async def ping(self) -> None:
        """Return if the backend answers."""
        ...
