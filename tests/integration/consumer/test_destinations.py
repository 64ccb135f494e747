"""A destination that goes down and comes back, over real HTTP."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.callbacks.breaker import MIN_CALLS, OPEN_TIME, BreakerState
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueSpec
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import Queue
from mcp_queue.services.execution.callbacks import CallbackTimeouts
from mcp_queue.services.execution.dispatch import TaskDispatcher
from mcp_queue.services.execution.router import TaskRouter
from tests.support.clock import HurriedClock
from tests.support.consumer import RecordingLog, assemble
from tests.support.http.callbacks import LOOPBACK
from tests.support.http.receiver import Answer, Receiver
from tests.support.metrics import CountingMetrics
from tests.support.tasks import fifo, standard
from tests.support.waiting import eventually

SLOTS = 5
GROUPS, EACH = 30, 2
OTHERS = 40
STANDARD, FIFO = standard("work", backend=Backend.SQLITE), fifo("work", backend=Backend.SQLITE)


@dataclass
class LiveConsumer:
    """What a test needs of it."""

    clock: HurriedClock
    queue: Queue
    log: RecordingLog
    metrics: CountingMetrics
    destinations: DestinationRegistry
    pool: WorkerPool


@asynccontextmanager
async def live_consumer(file: Path, spec: QueueSpec, *, slots: int, speed: float) -> AsyncIterator[LiveConsumer]:
    """Consume from the embedded queue of ``spec`` in ``file`` while the context is open, then drain.

    Callbacks go to real receivers. Time runs ``speed`` times as fast as the machine's.
    """
    clock, metrics = HurriedClock(speed), CountingMetrics()
    async with (
        SqliteBackend(file, clock=clock, serializer=JsonTaskSerializer()) as backend,
        AiohttpCallbackSender(LOOPBACK, clock, metrics) as sender,
    ):
        backend.queue(standard("dlq", backend=Backend.SQLITE))
        queue = backend.queue(spec)
        dispatcher = TaskDispatcher(
            router=TaskRouter(), services={}, routes=(), sender=sender, timeouts=CallbackTimeouts({})
        )
        parts = assemble(
            [PolledQueue(queue, timedelta(seconds=20))],
            dispatcher,
            clock,
            dispatcher.target,
            slots=slots,
            random=random.random,
            metrics=metrics,
        )
        async with parts.extender.running(parts.pool.lose):
            parts.pool.start()
            try:
                yield LiveConsumer(clock, queue, parts.log, parts.metrics, parts.destinations, parts.pool)
            finally:
                await parts.pool.drain(timedelta(seconds=30), asyncio.Event())


@pytest.fixture
async def broken() -> AsyncIterator[Receiver]:
    """Run a receiver that answers 503."""
    async with Receiver() as running:
        running.script("/tasks", Answer(status=503))
        yield running


@pytest.fixture
async def sound() -> AsyncIterator[Receiver]:
    """Run a receiver that takes everything."""
    async with Receiver() as running:
        yield running


def tasks(consumer: LiveConsumer, receiver: Receiver, count: int, name: str) -> list[Task]:
    """Make tasks that call ``receiver``, two of them in each group."""
    return [
        Task(
            id=f"{name}-{number}",
            type="remote",
            queue="work",
            created_at=consumer.clock.now(),
            callback_url=receiver.url("/tasks"),
            group=f"{name}-{number // EACH}",
            max_retries=5,
        )
        for number in range(count)
    ]


def taken(receiver: Receiver) -> dict[str, list[str]]:
    """Return what was delivered, in order, by group."""
    delivered: defaultdict[str, list[str]] = defaultdict(list)
    for request in receiver.requests:
        name, _, number = json.loads(request.body)["id"].rpartition("-")
        delivered[f"{name}-{int(number) // EACH}"].append(f"{name}-{number}")
    return delivered


async def is_empty(consumer: LiveConsumer) -> bool:
    """Whether nothing lies in the queue any more."""
    stats = await consumer.queue.stats()
    return not (stats.approximate_messages or stats.inflight_messages or stats.delayed_messages)


async def until_open(consumer: LiveConsumer) -> float:
    """Wait until a breaker opens; return about when."""

    async def opened() -> bool:
        return bool(consumer.metrics.open)

    await eventually(opened, 20, "the breaker opens")
    return consumer.clock.monotonic()


@pytest.mark.parametrize("spec", [STANDARD, FIFO], ids=["standard", "fifo"])
async def test_a_destination_that_goes_down_costs_its_tasks_no_attempts_and_others_nothing(
    tmp_path: Path, spec: QueueSpec, broken: Receiver, sound: Receiver
) -> None:
    """Calls to it stop, all others are made meanwhile, and when it is back every task is delivered once."""
    async with live_consumer(tmp_path / "queue.db", spec, slots=SLOTS, speed=20) as consumer:
        await consumer.queue.enqueue_batch(tasks(consumer, broken, GROUPS * EACH, "down"))
        opened_at = await until_open(consumer)
        await consumer.queue.enqueue_batch(tasks(consumer, sound, OTHERS, "up"))
        await sound.arrived(OTHERS)

        probes = 1 + (consumer.clock.monotonic() - opened_at) // OPEN_TIME
        assert MIN_CALLS <= len(broken.requests) < MIN_CALLS + SLOTS + probes
        assert consumer.pool.busy <= SLOTS

        failed = len(broken.requests)
        broken.requests.clear()
        broken.script("/tasks", Answer())
        await eventually(lambda: is_empty(consumer), 30, "every task is delivered")

        assert consumer.destinations.snapshot()[0].state is BreakerState.CLOSED
        # What ran is what was called: a deferral is no attempt in any book.
        assert sum(consumer.log.starts) == failed + len(broken.requests) + OTHERS
    delivered, everything = taken(broken), taken(sound)
    assert GROUPS * EACH == sum(map(len, delivered.values()))
    assert OTHERS // EACH == len(everything)
    if spec.fifo:
        assert all(sorted(group, key=by_number) == group for group in (delivered | everything).values())
    statuses = [record.status for record in consumer.log.records]
    assert GROUPS * EACH + OTHERS == statuses.count(TaskStatus.COMPLETED)
    assert TaskStatus.DEAD_LETTERED not in statuses


def by_number(task_id: str) -> int:
    """Return the number at the end of an id."""
    return int(task_id.rpartition("-")[2])


async def test_deferred_tasks_are_back_in_the_queue_when_the_consumer_ends(tmp_path: Path, broken: Receiver) -> None:
    """Another consumer gets the deferred deliveries of a FIFO queue at once, in order."""
    async with live_consumer(tmp_path / "queue.db", FIFO, slots=SLOTS, speed=20) as consumer:
        await consumer.queue.enqueue_batch(tasks(consumer, broken, GROUPS * EACH, "down"))
        await until_open(consumer)

    broken.requests.clear()
    broken.script("/tasks", Answer())
    async with live_consumer(tmp_path / "queue.db", FIFO, slots=SLOTS, speed=20) as consumer:
        await eventually(lambda: is_empty(consumer), 30, "every task is delivered")

    assert GROUPS * EACH == sum(map(len, taken(broken).values()))
