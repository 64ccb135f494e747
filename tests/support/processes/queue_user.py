"""A process of its own that uses the embedded queue, for tests that kill it.

``python -m tests.support.processes.queue_user {enqueue|produce|consume} FILE NAME``: each line that it prints is
something that the queue has confirmed. It starts when it reads a line.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.ports import Queue
from tests.support.tasks import a_task

SPEC = QueueSpec(name="work", kind=QueueKind.STANDARD, backend=Backend.SQLITE)
_CONCURRENCY = 16


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def enqueue_one(queue: Queue, name: str) -> None:
    """Enqueue one task."""
    await queue.enqueue(a_task(name))
    say(name)


async def produce(queue: Queue, name: str) -> None:
    """Enqueue tasks until killed; each has a body that fills more than one page of the file."""

    async def caller(number: int) -> None:
        for turn in range(1_000_000):
            task_id = f"{name}-{number}-{turn}"
            await queue.enqueue(a_task(task_id, payload="x" * 5000))
            say(task_id)

    await asyncio.gather(*(caller(number) for number in range(_CONCURRENCY)))


async def consume(queue: Queue, name: str) -> None:
    """Receive and complete until killed."""
    while True:
        for delivery in await queue.receive(10, timedelta(seconds=20)):
            await queue.complete(delivery)
            assert delivery.task is not None
            say(delivery.task.id)


_WORK: dict[str, Callable[[Queue, str], Awaitable[None]]] = {
    "enqueue": enqueue_one,
    "produce": produce,
    "consume": consume,
}


async def main(work: str, path: str, name: str) -> None:
    """Say that Python is up, wait for a line, open the file and work."""
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    async with SqliteBackend(Path(path), clock=SystemClock(), serializer=JsonTaskSerializer()) as backend:
        await _WORK[work](backend.queue(SPEC), name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
