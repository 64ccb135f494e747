"""What the embedded queue costs: run ``python -m bench.embedded_queue`` from the project's root.

One file in a temporary directory of the disk that ``--directory`` names, every commit synchronised with it. ``cpu`` is
processor time of this process per task, all threads together. The last line measures from before an enqueue in another
process until the long poll in this one has the task.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue

BATCH = 10
#: How many, and how many seconds apart: at a queue that is in use, and at one that has come to rest.
WAKE_UPS = ((100, 0.05), (10, 2.5))


@dataclass(frozen=True)
class Cost:
    """Wall time and processor time of so many tasks, in seconds."""

    tasks: int
    wall: float
    cpu: float

    def line(self, label: str) -> str:
        """Return a row of the table."""
        per_task = self.cpu / self.tasks * 1e6
        return f"{label:<44} {self.tasks / self.wall:>10,.0f} {per_task:>12.1f}"


async def measured(tasks: int, work: Awaitable[object]) -> Cost:
    """Run ``work``, which handles ``tasks`` tasks."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Cost(tasks, time.perf_counter() - wall, time.process_time() - cpu)


def task(number: int, group: str | None) -> Task:
    """Return a task of about 400 bytes."""
    return Task(
        id=f"0198c0de-0000-7000-8000-{number:012}",
        type="embedding",
        queue="work",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        payload={"text": "x" * 200},
        group=group,
    )


async def enqueue_all(queue: Queue, total: int, concurrency: int, groups: int) -> None:
    """Enqueue one task at a time, ``concurrency`` callers at once."""
    numbers = iter(range(total))

    async def caller() -> None:
        for number in numbers:
            await queue.enqueue(task(number, f"g-{number % groups}" if groups else None))

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def serialize_all(total: int) -> None:
    """Do what an enqueue does before the queue's own work."""
    serializer = JsonTaskSerializer()
    for number in range(total):
        serializer.dumps(task(number, None))


async def drain(queue: Queue, total: int, consumers: int) -> None:
    """Receive in tens and complete each message for itself, as a worker pool does."""
    left = total

    async def consumer() -> None:
        nonlocal left
        while left > 0:
            deliveries = await queue.receive(BATCH, timedelta(milliseconds=100))
            left -= len(deliveries)
            await asyncio.gather(*(queue.complete(delivery) for delivery in deliveries))

    await asyncio.gather(*(consumer() for _ in range(consumers)))


async def idle(queues: list[Queue], duration: timedelta) -> Cost:
    """Long-poll empty queues."""
    return await measured(1, asyncio.gather(*(queue.receive(BATCH, duration) for queue in queues)))


def produce_slowly(path: Path, tasks: int, pause: float) -> None:
    """In a process of its own: enqueue one task after the other, ``pause`` seconds apart, each with the time in it."""

    async def produce() -> None:
        clock = SystemClock()
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            queue = backend.queue(QueueSpec(name="apart", kind=QueueKind.STANDARD, backend=Backend.SQLITE))
            for number in range(tasks):
                await clock.sleep(pause + number % 7 / 100)
                await queue.enqueue(replace(task(number, None), payload=time.time_ns()))

    uvloop.run(produce())


async def wake_ups(queue: Queue, path: Path, tasks: int, pause: float) -> list[float]:
    """Return how long each task of another process took to arrive, in milliseconds, the shortest first."""
    producer = multiprocessing.get_context("spawn").Process(target=produce_slowly, args=(path, tasks, pause))
    producer.start()
    waits: list[float] = []
    while len(waits) < tasks:
        for delivery in await queue.receive(BATCH, timedelta(seconds=20)):
            assert delivery.task is not None
            assert isinstance(delivery.task.payload, int)
            waits.append((time.time_ns() - delivery.task.payload) / 1e6)
            await queue.complete(delivery)
    producer.join()
    return sorted(waits)


async def run(directory: Path, total: int, concurrency: int, idle_for: timedelta) -> None:
    """Print the table."""
    path = directory / "queue.db"
    async with SqliteBackend(path, clock=SystemClock(), serializer=JsonTaskSerializer()) as backend:

        def queue(name: str, kind: QueueKind = QueueKind.STANDARD, max_depth: int | None = None) -> Queue:
            return backend.queue(QueueSpec(name=name, kind=kind, backend=Backend.SQLITE, max_depth=max_depth))

        standard, fifo = queue("work"), queue("ordered", QueueKind.FIFO)
        limited = queue("limited", max_depth=10 * total)
        print(f"{'':<44} {'tasks/s':>10} {'cpu us/task':>12}")
        rows = (
            ("serialize only", serialize_all(total)),
            (f"enqueue, {concurrency} at once", enqueue_all(standard, total, concurrency, 0)),
            (f"enqueue with max_depth, {concurrency} at once", enqueue_all(limited, total, concurrency, 0)),
            (f"enqueue fifo, 1,000 groups, {concurrency} at once", enqueue_all(fifo, total, concurrency, 1000)),
            ("enqueue, 1 at a time", enqueue_all(standard, total // 10, 1, 0)),
            ("receive and complete, 4 consumers", drain(standard, total + total // 10, 4)),
            ("receive and complete fifo, 4 consumers", drain(fifo, total, 4)),
        )
        for label, work in rows:
            tasks = total // 10 if "1 at a time" in label else total
            print((await measured(tasks, work)).line(label), flush=True)
        cost = await idle([queue(f"idle-{number}") for number in range(3)], idle_for)
        print(f"idle, 3 queues polled for {cost.wall:.0f} s: {cost.cpu / cost.wall:.2%} of a core")
        for tasks, pause in WAKE_UPS:
            waits = await wake_ups(queue("apart"), path, tasks, pause)
            print(
                f"woken by another process, {tasks} times {pause:g} s apart: median {waits[len(waits) // 2]:.0f} ms, "
                f"all within {waits[-1]:.0f} ms"
            )


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--idle-seconds", type=float, default=10)
    parser.add_argument("--directory", type=Path, default=None, help="default: the system's temporary directory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        uvloop.run(run(Path(directory), given.tasks, given.concurrency, timedelta(seconds=given.idle_seconds)))


if __name__ == "__main__":
    main()
