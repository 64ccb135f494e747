"""Measures the SQS adapter alone, against the stub in a process of its own: no gateway, no consumer, no ledger.

    python bench/sqs_adapter.py [TASKS]

Prints, for sending with 64 tasks under way and for receiving and completing with 4 polls: tasks per second, CPU of
this process per task, and SQS requests per task.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import uvloop

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue

CONCURRENCY = 64
POLLS = 4
STUB = Path(__file__).with_name("sqs_stub.py")
WAIT = timedelta(seconds=1)


class Calls:
    """Counts calls."""

    def __init__(self) -> None:
        """Start at none."""
        self.number = 0

    def sqs_call(self, operation: str, outcome: str) -> None:  # noqa: ARG002  # the protocol's signature
        """Count one."""
        self.number += 1

    def sqs_batch(self, operation: str, entries: int) -> None:  # the protocol's signature
        """Count nothing."""


async def send(queue: Queue, clock: SystemClock, total: int) -> None:
    """Enqueue ``total`` tasks, 64 at a time."""
    numbers = iter(range(total))

    async def client() -> None:
        for number in numbers:
            task = Task(
                id=f"0198c1f0-0000-7000-8000-{number:012x}",
                type="embedding",
                queue="tasks",
                created_at=clock.now(),
                payload={"text": "a line of text to be embedded", "model": "small", "number": number},
            )
            await queue.enqueue(task)

    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))


async def drain(queue: Queue, total: int) -> None:
    """Receive and complete ``total`` tasks."""
    left = total

    async def poll() -> None:
        nonlocal left
        while left > 0:
            deliveries = await queue.receive(10, WAIT)
            left -= len(deliveries)
            await asyncio.gather(*(queue.complete(delivery) for delivery in deliveries))

    await asyncio.gather(*(poll() for _ in range(POLLS)))


async def measure(name: str, calls: Calls, total: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` and print its figures."""
    calls.number = 0
    started, cpu = time.perf_counter(), time.process_time()
    await work()
    elapsed, used = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"{name}: {total / elapsed:,.0f} tasks/s, {used / total * 1e6:.0f} µs CPU per task, "
        f"{calls.number / total:.3f} requests per task"
    )


async def run(url: str, total: int) -> None:
    """Measure both directions."""
    clock, calls = SystemClock(), Calls()
    spec = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.SQS, url="tasks")
    backend = SqsBackend(
        [spec],
        clock=clock,
        random=random.random,
        serializer=JsonTaskSerializer(),
        metrics=calls,
        region="us-east-1",
        endpoint_url=url,
        worker_count=POLLS,
    )
    async with backend:
        queue = backend.queue("tasks")
        await measure("send", calls, total, lambda: send(queue, clock, total))
        await measure("receive and complete", calls, total, lambda: drain(queue, total))


def main() -> None:
    """Start the stub, measure, stop it."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    os.environ.update(AWS_ACCESS_KEY_ID="stub", AWS_SECRET_ACCESS_KEY="stub")
    with subprocess.Popen([sys.executable, STUB, "0", "tasks"], stdout=subprocess.PIPE, text=True) as stub:
        assert stub.stdout is not None
        try:
            uvloop.run(run(stub.stdout.readline().strip(), total))
        finally:
            stub.terminate()


if __name__ == "__main__":
    main()
