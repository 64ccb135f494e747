"""Looks into, and writes into, the embedded queue's file from outside the processes that use it."""

from datetime import timedelta
from pathlib import Path

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task


class RawSerializer(JsonTaskSerializer):
    """Writes a task's payload, a text, as the whole body: what other producers may send."""

    def dumps(self, task: Task) -> str:
        """Return the payload."""
        return str(task.payload)


async def put_raw(data_dir: Path, queue: str, bodies: list[str]) -> None:
    """Put message bodies into a queue that no task is behind."""
    clock = SystemClock()
    async with SqliteBackend(data_dir / "queue.db", clock=clock, serializer=RawSerializer()) as backend:
        target = backend.queue(QueueSpec(name=queue, kind=QueueKind.STANDARD, backend=Backend.SQLITE))
        for number, body in enumerate(bodies):
            await target.enqueue(
                Task(id=f"raw-{number}", type="raw", queue=queue, created_at=clock.now(), payload=body)
            )


async def dead_letters(data_dir: Path, queue: str = "dlq") -> list[Delivery]:
    """Return everything that lies in the dead-letter queue."""
    dead_letters: list[Delivery] = []
    clock = SystemClock()
    async with SqliteBackend(data_dir / "queue.db", clock=clock, serializer=JsonTaskSerializer()) as backend:
        source = backend.queue(QueueSpec(name=queue, kind=QueueKind.STANDARD, backend=Backend.SQLITE))
        while received := await source.receive(10, timedelta(0)):
            dead_letters += received
    return dead_letters
