"""Checks of the product itself on an account: the queues that it applies, and tasks that go through its adapter."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from mcp_queue.domain.errors import VisibilityTimeoutError
from mcp_queue.domain.queues import QueueKind
from mcp_queue.ports import Queue
from tests.aws.account import Account
from tests.support.sqs.client import sqs_backend, sqs_spec
from tests.support.tasks import a_task

ROOT = Path(__file__).parents[2]
WAIT = timedelta(seconds=20)
#: Seconds. SQS may take a minute to show a new queue.
APPLY_LIMIT = 300


def queues_apply(account: Account) -> None:
    """``mcp-queue queues apply`` creates four queues, and finds nothing to do the second time."""
    queues = [
        {"name": "tasks", "url": account.name("tasks"), "type": "standard"},
        {"name": "orders", "url": account.name("orders.fifo"), "type": "fifo", "dead_letter_queue": "orders-dlq"},
        {"name": "dlq", "url": account.name("dlq"), "type": "standard"},
        {"name": "orders-dlq", "url": account.name("orders-dlq.fifo"), "type": "fifo"},
    ]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "queue.yaml"
        config.write_text(json.dumps({"queue": {"sqs": {"queues": queues}}}))  # JSON is YAML
        first, second = _apply(config), _apply(config)
    assert 4 == first.count(": created"), first
    assert 4 == second.count(": as configured"), second


def _apply(config: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_queue", "queues", "apply"],
        cwd=ROOT,
        env={**os.environ, "QUEUE_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=APPLY_LIMIT,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def a_task_and_its_retry(account: Account) -> None:
    """Sent, received, extended, retried, released and completed."""

    async def tried(queue: Queue) -> None:
        task = a_task("t-1", payload={"text": "naïve 雪"})
        await queue.enqueue(task)
        (delivery,) = await queue.receive(1, WAIT)
        assert task == delivery.task
        await queue.extend(delivery, timedelta(seconds=90))
        await queue.retry(delivery, task.next_attempt(), timedelta(seconds=1))
        (retry,) = await queue.receive(1, WAIT)
        assert task.next_attempt() == retry.task
        await queue.release(retry)
        (again,) = await queue.receive(1, WAIT)
        await queue.complete(again)

    url = account.create("adapter")
    asyncio.run(_on(url, tried, visibility_timeout=timedelta(seconds=60)))


def order_of_a_group(account: Account) -> None:
    """Ten tasks of one group come in the order they went."""

    async def tried(queue: Queue) -> None:
        names = [f"t-{number}" for number in range(10)]
        await queue.enqueue_batch([a_task(name, group="g") for name in names])
        came: list[str] = []
        while len(came) < len(names):
            deliveries = await queue.receive(10, WAIT)
            assert deliveries, came
            for delivery in deliveries:
                assert delivery.task is not None
                came.append(delivery.task.id)
                await queue.complete(delivery)
        assert names == came

    asyncio.run(_on(account.create("order.fifo"), tried, kind=QueueKind.FIFO))


def a_lost_lease(account: Account) -> None:
    """A FIFO delivery whose lease has ended is told so."""

    async def tried(queue: Queue) -> None:
        await queue.enqueue(a_task("t-1", group="g"))
        (delivery,) = await queue.receive(1, WAIT)
        await asyncio.sleep(3)
        try:
            await queue.complete(delivery)
        except VisibilityTimeoutError:
            return
        raise AssertionError("an expired handle was accepted")

    spec = {"kind": QueueKind.FIFO, "visibility_timeout": timedelta(seconds=1)}
    asyncio.run(_on(account.create("lease.fifo"), tried, **spec))


async def _on(url: str, tried: Any, **members: Any) -> None:
    async with sqs_backend(sqs_spec("work", url, **members)) as backend:
        await tried(backend.queue("work"))
